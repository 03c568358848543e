"""Rows to try a model with, drawn from the values that it distinguishes.

Values that the model does not distinguish show nothing: all words outside its tables
are the same to it. So each input gets words that its tables hold, values on both sides
of what it is compared with, and, if the model computes with it, numbers of several
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
from gomlx.models.dataflow.downstream import computed_from
from gomlx.models.dataflow.elements import scalars
from gomlx.models.dataflow.flow import Flow

_ROWS = 16
_CROWD_VALUES = 256  # of each input
_MAX_SCALE = 1000.0
_SMALL = 16  # elements of a constant that is considered
# Mild ones first: a model may refuse numbers outside a range.
_NUMBERS = (0, 1, 2, 0.5, 3, -1, 5, 10, -20, 100, 1000, 0.001)
_TEXTS = ("", "a", "1", "-1", "3", "B, c", "1000")
_COMPARISONS = frozenset(
    {
        "Equal",
        "Greater",
        "GreaterEqual",
        "Less",
        "LessEqual",
        "Maximum",
        "Minimum",
        "NotEqual",
    }
)


def constants(flow: Flow, feeds: Iterable[str]) -> list[Scalar]:
    """Return the small constants that values computed from inputs are compared with."""
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
    """The values to try for every input, in row order.

    fields: the inputs. known: some of the values of each that a table, a constant or a
    threshold distinguishes.
    tried: these and others, for rows whose answers are compared. measured: positions
    of inputs whose numbers the model computes with. example is a row that it accepts.
    """

    fields: tuple[Tensor, ...]
    known: tuple[Sequence[Scalar], ...]
    tried: tuple[Sequence[Scalar], ...]
    measured: tuple[int, ...]
    example: Row

    def rows(self) -> Iterator[Row]:
        """Yield rows of the shapes of the example, with other values."""
        pairs = enumerate(zip(self.example, self.tried, strict=True))
        columns = [self._column(i, value, values) for i, (value, values) in pairs]
        yield from zip(*columns, strict=True)

    def _column(self, i: int, value: Value, values: Sequence[Scalar]) -> list[Value]:
        if not values:
            return [value] * _ROWS
        column = list(islice(cycle(values), _ROWS))
        if i not in self.measured:  # numbers stay in order: mild ones share rows
            Random(i).shuffle(column)  # seeded: every staging tries the same rows
        return _values(self.fields[i], value, column)

    def crowd(self) -> list[Row]:
        """Return rows that together hold all the known values."""
        count = max(map(len, self.known), default=0)
        parts = zip(self.fields, self.example, self.known, strict=True)
        columns = [
            _values(t, value, list(islice(cycle(values), count))) if values else [value]
            for t, value, values in parts
        ]
        return list(zip(*(islice(cycle(c), count) for c in columns), strict=True))

    def scale(self, row: Row) -> float:
        """Return the magnitude of the numbers that are computed with, from 1 to 1000.

        Larger numbers do not count: they identify something and are not summed.
        """
        numbers = chain.from_iterable(
            self.fields[i].elements(row[i]) for i in self.measured
        )
        return float(min(max(chain((1.0,), map(abs, numbers))), _MAX_SCALE))


def samples(
    fields: Sequence[Tensor],
    kinds: Sequence[Kind],
    distinguished: Sequence[Iterable[Scalar]],
    compared: Sequence[Scalar],
    example: Row,
) -> Samples:
    """Choose the values to try.

    distinguished: of each input of the model, the values that some consumer treats in
    a way of their own. compared: the constants that computed values are compared with.
    """
    known = []
    tried = []
    measured = []
    for i, (tensor, kind) in enumerate(zip(fields, kinds, strict=True)):
        own = distinguished[i] if i < len(distinguished) else ()
        # Rows of one value of a shared input: only they run together.
        some = [] if tensor.is_shared else _known(tensor, kind, own, compared)
        known.append(some)
        tried.append(_tried(tensor, kind, some, compared, example[i]))
        if not isinstance(kind, Vocabulary | Buckets | Auxiliary) and tensor.bounds:
            measured.append(i)
    return Samples(tuple(fields), tuple(known), tuple(tried), tuple(measured), example)


def _known(
    tensor: Tensor, kind: Kind, own: Iterable[Scalar], compared: Sequence[Scalar]
) -> list[Scalar]:
    """Return values that the model distinguishes, first those compared in its graph."""
    if isinstance(kind, Auxiliary):
        return []
    if isinstance(kind, Buckets):
        return [kind.below, *_sample(kind.thresholds, _CROWD_VALUES)]
    values = kind.known if isinstance(kind, Vocabulary) else frozenset(own)
    first = [value for value in compared if value in values]
    return _fitting(tensor, [*first, *_sample(values, _CROWD_VALUES)])


def _tried(
    tensor: Tensor,
    kind: Kind,
    known: Sequence[Scalar],
    compared: Sequence[Scalar],
    example: Value,
) -> list[Scalar]:
    """Return the values of an input for the rows whose answers are compared."""
    if isinstance(kind, Auxiliary) or tensor.is_shared:
        return []
    if isinstance(kind, Buckets):
        return list(known[:_ROWS])
    if isinstance(kind, Vocabulary):
        # At most half of the rows: each value then meets several of other inputs.
        unknown = [] if kind.unknown is None else [kind.unknown]
        return [*known[: _ROWS // 2], *unknown]
    if tensor.dtype == "bool":
        return [True, False]
    return _alternating(tensor, known, compared, example)


def _alternating(
    tensor: Tensor,
    known: Sequence[Scalar],
    compared: Sequence[Scalar],
    example: Value,
) -> list[Scalar]:
    """Return values of an input of any value, alternately from three sources.

    The sources are values near the example's and common ones; known values; and those
    around the constants that something is compared with.
    """
    is_text = tensor.dtype == "string"
    leaf = next(iter(tensor.elements(example)), "" if is_text else 0)
    common = _TEXTS if is_text else _NUMBERS
    near = [*_moved(leaf, 1), *_moved(leaf, 3)]
    around = [x for value in compared for x in (value, *_moved(value, 1))]
    turns = zip_longest([*near, *common], known, around)
    mixed = (value for turn in turns for value in turn if value is not None)
    return _fitting(tensor, mixed)[:_ROWS]


def _moved(value: Any, step: int) -> list[Scalar]:
    """Return the values next to one, at a distance of step."""
    if isinstance(value, bool) or value is None:
        return []
    if isinstance(value, str):
        return [f"{value}{step}"]
    if isinstance(value, bytes):
        return [value + bytes([step])]
    return [value + step, value - step]


def _fitting(tensor: Tensor, values: Iterable[Scalar]) -> list[Scalar]:
    """Return the values that an input accepts, each once."""
    fitted = (_fitted(tensor, value) for value in values)
    return list(dict.fromkeys(value for value in fitted if value is not None))


def _fitted(tensor: Tensor, value: Scalar) -> Scalar:
    """Return a value as an input accepts it; None if it does not."""
    number = _number(value)
    if tensor.bounds is None or number is None:
        types = {"string": (str, bytes), "bool": (bool,)}.get(tensor.dtype, ())
        return value if isinstance(value, types) else None
    low, high = tensor.bounds
    is_whole = "float" in tensor.dtype or isinstance(number, int)
    return number if is_whole and low <= number <= high else None


def _number(value: Scalar) -> int | float | None:
    """Return a number, as an integer if it is whole; None for other values."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if float(value).is_integer() else value


def _sample(values: Iterable[Scalar], count: int) -> list[Scalar]:
    """Return some of the values: well spread, and the same in every process."""
    return nsmallest(count, values, key=lambda value: crc32(repr(value).encode()))


def _values(tensor: Tensor, example: Value, column: Sequence[Scalar]) -> list[Value]:
    """Return values of the example's shape. A block alternates between two elements."""
    if not isinstance(example, Block):
        return list(column)
    size = len(tensor.elements(example))
    following = [*column[1:], *column[:1]]
    return [
        tensor.block(example.shape, list(islice(cycle(pair), size)))
        for pair in zip(column, following, strict=True)
    ]
