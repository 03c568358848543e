"""Rows to try a model with, drawn from what the model can tell apart.

Two values that the model takes for one show nothing: words that no table knows are all
the same to it. So each input is given words that it knows, values on both sides of
what it is compared with, and, where it is a number like any other, some of several
magnitudes.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain, cycle, islice, zip_longest
from random import Random
from typing import Any
from zlib import crc32

from tensorflow.python.framework import tensor_util

from gomlx.contract.canonical import Auxiliary, Buckets, Kind, Vocabulary
from gomlx.contract.tensor import Block, Row, Scalar, Tensor, Value
from gomlx.models.staging.choices import computed_from
from gomlx.models.staging.flow import Flow
from gomlx.models.staging.kinds import scalars

_ROWS = 16
_CROWD = 256
_MOST = 1000.0
_SMALL = 16  # elements of a constant that is looked at
# Mild ones first: a model may refuse what lies outside the range of its numbers.
_NUMBERS = (0, 1, 2, 0.5, 3, -1, 5, 10, -20, 100, 1000, 0.001)
_TEXTS = ("", "a", "1", "-1", "3", "B, c", "1000")
_COMPARISONS = frozenset(
    {
        *("Equal", "NotEqual", "Less", "LessEqual", "Greater", "GreaterEqual"),
        *("Minimum", "Maximum"),
    }
)


def constants(flow: Flow, feeds: Iterable[str]) -> list[Scalar]:
    """Return the constants that something computed from the inputs is compared with."""
    found: dict[Scalar, None] = {}
    for use in computed_from(flow, feeds):
        if use.node.op not in _COMPARISONS:
            continue
        node = flow.node(flow.source(use.input(1 - use.slot)))
        if node is not None and node.op == "Const":
            array = tensor_util.MakeNdarray(node.attr["value"].tensor)
            if array.size <= _SMALL:
                found.update(dict.fromkeys(_sample(scalars(array), _SMALL)))
    return list(found)


@dataclass(frozen=True)
class Samples:
    """The values to try of every input, in row order.

    known: some of those that a table, a constant or a threshold tells from others;
    tried: these and others, for rows of which each is looked at. measured: places of
    numbers that a model computes with.
    """

    known: tuple[Sequence[Scalar], ...]
    tried: tuple[Sequence[Scalar], ...]
    measured: tuple[int, ...]
    example: Row

    def rows(self) -> Iterator[Row]:
        """Rows of the shapes of the example, with other values."""
        pairs = enumerate(zip(self.example, self.tried, strict=True))
        columns = [self._column(i, value, values) for i, (value, values) in pairs]
        yield from zip(*columns, strict=True)

    def _column(self, i: int, value: Value, values: Sequence[Scalar]) -> list[Value]:
        if not values:
            return [value] * _ROWS
        column = list(islice(cycle(values), _ROWS))
        if i not in self.measured:  # numbers stay in order: mild ones together
            Random(i).shuffle(column)  # the same for every staging
        return _values(value, column)

    def crowd(self) -> list[Row]:
        """Rows that hold as many of the known values as there may be."""
        count = max(map(len, self.known), default=0)
        columns = [
            _values(value, list(islice(cycle(values), count))) if values else [value]
            for value, values in zip(self.example, self.known, strict=True)
        ]
        return list(zip(*(islice(cycle(c), count) for c in columns), strict=True))

    def scale(self, row: Row) -> float:
        """How large the numbers are that are computed with: 1 to 1000.

        No more: what a large one identifies, rather than measures, is not summed.
        """
        numbers = chain.from_iterable(_leaves(row[i]) for i in self.measured)
        return float(min(max(chain((1.0,), map(abs, numbers))), _MOST))


def samples(
    fields: Sequence[Tensor],
    kinds: Sequence[Kind],
    told_apart: Sequence[Iterable[Scalar]],
    compared: Sequence[Scalar],
    example: Row,
) -> Samples:
    """Return what to try. told_apart: values of each input that some use knows."""
    known, tried, measured = [], [], []
    for i, (tensor, kind) in enumerate(zip(fields, kinds, strict=True)):
        told = told_apart[i] if i < len(told_apart) else ()
        some = _known(tensor, kind, told, compared)
        known.append(some)
        tried.append(_tried(tensor, kind, some, compared, example[i]))
        if not isinstance(kind, Vocabulary | Buckets | Auxiliary) and tensor.bounds:
            measured.append(i)
    return Samples(tuple(known), tuple(tried), tuple(measured), example)


def _known(
    tensor: Tensor, kind: Kind, told: Iterable[Scalar], compared: Sequence[Scalar]
) -> list[Scalar]:
    """Values that the model tells from others; first those that stand in its graph."""
    if isinstance(kind, Auxiliary):
        return []
    if isinstance(kind, Buckets):
        return [kind.below, *_sample(kind.thresholds, _CROWD)]
    of = kind.known if isinstance(kind, Vocabulary) else frozenset(told)
    first = [value for value in compared if value in of]
    return _suiting(tensor, [*first, *_sample(of, _CROWD)])


def _tried(
    tensor: Tensor,
    kind: Kind,
    known: Sequence[Scalar],
    compared: Sequence[Scalar],
    example: Value,
) -> list[Scalar]:
    if isinstance(kind, Auxiliary):
        return []
    if isinstance(kind, Buckets):
        return list(known[:_ROWS])
    if isinstance(kind, Vocabulary):
        # Half of the rows: then each is tried beside several values of other inputs.
        return [*known[: _ROWS // 2], *([] if kind.unknown is None else [kind.unknown])]
    if tensor.dtype == "bool":
        return [True, False]
    leaf = next(iter(_leaves(example)), "" if tensor.dtype == "string" else 0)
    others = _TEXTS if tensor.dtype == "string" else _NUMBERS
    near = [*_moved(leaf, 1), *_moved(leaf, 3)]
    around = [x for value in compared for x in (value, *_moved(value, 1))]
    turns = zip_longest([*near, *others], known, around)
    mixed = (value for turn in turns for value in turn if value is not None)
    return _suiting(tensor, mixed)[:_ROWS]


def _moved(value: Any, step: int) -> list[Scalar]:
    """Values beside one."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, str):
        return [f"{value}{step}"]
    if isinstance(value, bytes):
        return [value + bytes([step])]
    return [value + step, value - step]


def _suiting(tensor: Tensor, values: Iterable[Scalar]) -> list[Scalar]:
    """Return the values that an input can take, each once."""
    found: dict[Scalar, None] = {}
    for value in values:
        number = _number(value)
        if tensor.bounds is None or number is None:
            types = {"string": (str, bytes), "bool": (bool,)}.get(tensor.dtype, ())
            if isinstance(value, types):
                found[value] = None
        elif tensor.bounds[0] <= number <= tensor.bounds[1]:
            if "float" in tensor.dtype or isinstance(number, int):
                found[number] = None
    return list(found)


def _number(value: Scalar) -> int | float | None:
    """Return a number, whole ones as integers."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if float(value).is_integer() else value


def _sample(values: Iterable[Scalar], count: int) -> list[Scalar]:
    """Return some of them: the same in every process, and from all over them."""
    return nsmallest(count, values, key=lambda value: crc32(repr(value).encode()))


def _values(example: Value, column: Sequence[Scalar]) -> list[Value]:
    """Return values of the example's shape: of a block, two elements by turns."""
    if not isinstance(example, Block):
        return list(column)
    size, following = len(example.leaves), [*column[1:], *column[:1]]
    return [
        example._replace(leaves=tuple(islice(cycle(pair), size)))
        for pair in zip(column, following, strict=True)
    ]


def _leaves(value: Value) -> Iterable[Any]:
    return value.leaves if isinstance(value, Block) else (value,)
