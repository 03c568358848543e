"""How tests ask: signatures of one input `x`."""

from typing import Any

import pytest

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput


def one(dtype: str, shape: tuple[int | None, ...] | None = ()) -> Signature:
    return Signature((Tensor("x", dtype, shape),), ())


def value(signature: Signature, given: Any) -> Any:
    """What a single row's only value becomes."""
    ((taken,),) = signature.check({"x": given}).rows
    return taken


def refusal(signature: Signature, asked: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        signature.check(asked)
    return caught.value
