"""Signatures of one input `x`, and requests to them."""

from typing import Any

import pytest

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput


def one(dtype: str, shape: tuple[int | None, ...] | None = ()) -> Signature:
    return Signature((Tensor("x", dtype, shape),), ())


def value(signature: Signature, given: Any) -> Any:
    """The value that a request of one row has after the check."""
    ((checked,),) = signature.check({"x": given}).rows
    return checked


def refusal(signature: Signature, body: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        signature.check(body)
    return caught.value
