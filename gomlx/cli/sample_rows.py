"""Sample rows of a model, made from its dictionary, Zipf distributed.

The n-th most frequent value of an input is 1 / n times as frequent as the first.
"""

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

from gomlx.cli.values import to_json
from gomlx.contract.canonical import Buckets, Kind, Vocabulary
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Tensor

_VALUES = 1000  # of an input without a vocabulary or buckets
_INT8_VALUES = 100
_DIMENSION = 4  # the size of a dimension that may have any
ValueColumns = dict[str, list[Any]]  # by input
Draw = Callable[[int], list[Any]]  # the number of values → the values


class SampleRows:
    """Makes columns of values. randomness, if seeded, makes the same ones again."""

    def __init__(self, contract: Contract, randomness: random.Random) -> None:
        self._randomness = randomness
        pairs = zip(contract.signature.fields, contract.kinds, strict=True)
        self._draws = {tensor.name: self._draw(tensor, kind) for tensor, kind in pairs}

    def columns(self, size: int) -> ValueColumns:
        """Return a column of `size` values for each input."""
        return {name: draw(size) for name, draw in self._draws.items()}

    def endless(self, size: int) -> Iterator[ValueColumns]:
        """Yield columns of `size` values for ever."""
        while True:
            yield self.columns(size)

    def _draw(self, tensor: Tensor, kind: Kind) -> Draw:
        values = _values(tensor, kind)
        self._randomness.shuffle(values)  # the frequent ones are not the first by name
        weights = list(accumulate(1 / n for n in range(1, len(values) + 1)))
        dims = () if tensor.is_scalar else tensor.shape or (_DIMENSION,)

        def draw_scalars(size: int) -> list[Any]:
            return self._randomness.choices(values, cum_weights=weights, k=size)

        draw: Draw = draw_scalars
        for dim in reversed(dims):
            draw = _lists(draw, _DIMENSION if dim is None else dim)
        return draw


def _values(tensor: Tensor, kind: Kind) -> list[Any]:
    """Return values of one element: those that the kind tells apart, if it is known."""
    if isinstance(kind, Vocabulary) and kind.known:
        return sorted(map(to_json, kind.known), key=str)
    if isinstance(kind, Buckets):
        is_int = "int" in tensor.dtype
        return [int(edge) if is_int else edge for edge in kind.thresholds]
    return _values_of_dtype(tensor.dtype)


def _values_of_dtype(dtype: str) -> list[Any]:
    if dtype == "bool":
        return [False, True]
    if "int" in dtype:
        return list(range(_INT8_VALUES if dtype.endswith("int8") else _VALUES))
    if "float" in dtype:
        return [n / 8 for n in range(_VALUES)]
    return [f"value-{n}" for n in range(_VALUES)]


def _lists(draw: Draw, dim: int) -> Draw:
    return lambda size: [draw(dim) for _ in range(size)]
