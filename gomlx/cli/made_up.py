"""Rows for a model that nobody has rows for: from its dictionary, Zipf distributed.

The n-th most frequent value of an input comes 1 / n times as often as the first.
"""

import random
from collections.abc import Callable
from itertools import accumulate
from typing import Any

from gomlx.cli.asking import to_json
from gomlx.contract.canonical import Buckets, Kind, Vocabulary
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Tensor

_VALUES = 1000  # of an input that has no vocabulary
_DIMENSION = 4  # where any size will do
Columns = dict[str, list[Any]]


class MadeUp:
    """Makes columns. chance: the random numbers, so that a run can be repeated."""

    def __init__(self, contract: Contract, chance: random.Random) -> None:
        self._chance = chance
        pairs = zip(contract.signature.fields, contract.kinds, strict=True)
        self._draws = {t.name: self._draw(t, kind) for t, kind in pairs}

    def columns(self, size: int) -> Columns:
        """Return a column of so many values for each input."""
        return {name: draw(size) for name, draw in self._draws.items()}

    def _draw(self, tensor: Tensor, kind: Kind) -> Callable[[int], list[Any]]:
        values = values_of(tensor, kind)
        self._chance.shuffle(values)  # who is frequent is no matter of the alphabet
        weights = list(accumulate(1 / n for n in range(1, len(values) + 1)))
        dims = () if tensor.is_scalar else tensor.shape or (_DIMENSION,)

        def one(size: int) -> list[Any]:
            return self._chance.choices(values, cum_weights=weights, k=size)

        draw: Callable[[int], list[Any]] = one
        for dim in reversed(dims):
            draw = _lists(draw, _DIMENSION if dim is None else dim)
        return draw


def values_of(tensor: Tensor, kind: Kind) -> list[Any]:
    """Return values of one element, those that the model knows where it tells."""
    if isinstance(kind, Vocabulary) and kind.known:
        return sorted(map(to_json, kind.known), key=str)
    if isinstance(kind, Buckets):
        whole = "int" in tensor.dtype
        return [int(edge) if whole else edge for edge in kind.thresholds]
    if tensor.dtype == "bool":
        return [False, True]
    if "int" in tensor.dtype:
        return list(range(100 if tensor.dtype.endswith("int8") else _VALUES))
    if "float" in tensor.dtype:
        return [n / 8 for n in range(_VALUES)]
    return [f"value-{n}" for n in range(_VALUES)]


def _lists(draw: Callable[[int], list[Any]], dim: int) -> Callable[[int], list[Any]]:
    return lambda size: [draw(dim) for _ in range(size)]
