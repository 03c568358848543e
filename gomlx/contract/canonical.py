"""What an input's values collapse to: each kind of it is a small class.

    Vocabulary   what no table or constant knows is one value, `unknown`
    Buckets      what lies between two thresholds is one value
    Rounded      the config gives a precision
    Exact        the value itself, as its dtype holds it
    Auxiliary    not fed to the model; in the key only when the config says so

`one(value)` and `canonical(column)` give what the model is to be fed instead. Most
requests hold one row, and a column of one costs several times more than a value.
"""

import marshal
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar

from gomlx.contract.tensor import Scalar

Column = Sequence[Scalar]
_FLOATS = {
    dtype: struct.Struct(f"<{code}")
    for dtype, code in {
        "float16": "e",
        "bfloat16": "f",
        "float32": "f",
        "float64": "d",
    }.items()
}
# The float before 0.5: added to the one before any half, it stays below the whole.
_HALF = 0.49999999999999994
_WHOLE = 2.0**53  # floats beyond it have no decimals
_MARSHAL_VERSION = 4  # the one that every Python from 3.11 on reads


@dataclass(frozen=True)
class Vocabulary:
    """A value that the model knows, or `unknown` for all those that it does not.

    unknown is such a value itself, chosen when the model was staged: it can be fed,
    and the model cannot tell it from any other. None: every value is known.
    """

    kind: ClassVar = "vocabulary"
    known: frozenset[Scalar]
    unknown: Scalar
    proof: str

    def one(self, value: Any) -> Any:
        is_known = self.unknown is None or value in self.known
        return value if is_known else self.unknown

    def canonical(self, column: Column) -> Column:
        known, unknown = self.known, self.unknown
        if unknown is None or known.issuperset(column):
            return column
        return [value if value in known else unknown for value in column]

    @property
    def distinct(self) -> int:
        """How many canonical values there are; None in other kinds: no bound."""
        return len(self.known) + (self.unknown is not None)

    def why(self, value: Scalar) -> str:
        """Say why a value's canonical value is another."""
        return f"not among the {len(self.known)} values that the model knows"


@dataclass(frozen=True)
class Buckets:
    """The lowest value of the bucket that a value lies in: its lower threshold.

    thresholds ascend and are values of the dtype. below stands for all that is less
    than the first one.
    """

    kind: ClassVar = "buckets"
    dtype: str
    thresholds: tuple[int | float, ...]
    below: int | float
    proof: str

    def one(self, value: Any) -> Any:
        return self._values[bisect_right(self.thresholds, held(value, self.dtype))]

    def canonical(self, column: Column) -> Column:
        thresholds, values = self.thresholds, self._values
        buckets = map(bisect_right, repeat(thresholds), _narrow(column, self.dtype))
        return list(map(values.__getitem__, buckets))

    @cached_property
    def _values(self) -> tuple[int | float, ...]:
        return (self.below, *self.thresholds)

    @property
    def distinct(self) -> int:
        return len(self.thresholds) + 1

    def why(self, value: Any) -> str:
        i = bisect_right(self.thresholds, held(value, self.dtype))
        low, high = ("-∞", *self.thresholds, "∞")[i : i + 2]
        return f"in bucket {i} of {self.distinct}, from {low} to below {high}"


@dataclass(frozen=True)
class Rounded:
    """The value rounded half away from zero to so many decimals, as its dtype holds it.

    The product and the quotient are those of float64, as other clients compute them.
    """

    kind: ClassVar = "rounded"
    dtype: str
    precision: int
    proof: str

    def one(self, value: Any) -> Any:
        x = held(value, self.dtype)
        return held(_rounded(x, 10.0**self.precision), self.dtype)

    def canonical(self, column: Column) -> Column:
        scale = 10.0**self.precision
        values = _narrow(column, self.dtype)
        return _narrow([_rounded(x, scale) for x in values], self.dtype)

    @property
    def distinct(self) -> None:
        return None

    def why(self, value: Scalar) -> str:
        return f"rounded to {self.precision} decimals"


def _rounded(x: float, scale: float) -> float:
    """Round to multiples of 1 / scale; never to -0.0."""
    if not -_WHOLE < x < _WHOLE:
        return x
    y = x * scale
    # PERF: of all ways to say it, the fastest (loadtests/keys.py).
    return (y + _HALF) // 1 / scale if y >= 0 else (0.0 - (_HALF - y) // 1) / scale


@dataclass(frozen=True)
class Exact:
    """The value itself; reason says why nothing coarser is proved."""

    kind: ClassVar = "exact"
    dtype: str
    proof: str

    def one(self, value: Any) -> Any:
        return held(value, self.dtype)

    def canonical(self, column: Column) -> Column:
        return _narrow(column, self.dtype)

    @property
    def distinct(self) -> int | None:
        return 2 if self.dtype == "bool" else None

    def why(self, value: Scalar) -> str:
        return f"as {self.dtype} holds it"


@dataclass(frozen=True)
class Auxiliary:
    """A value that is not fed to the model but available to the transformer."""

    kind: ClassVar = "auxiliary"
    is_in_key: bool
    proof: str

    def one(self, value: Any) -> Any:
        return value

    def canonical(self, column: Column) -> Column:
        return column

    @property
    def distinct(self) -> int | None:
        return None if self.is_in_key else 1

    def why(self, value: Scalar) -> str:
        return "not in key_fields"


Kind = Vocabulary | Buckets | Rounded | Exact | Auxiliary
KINDS: dict[str, type[Kind]] = {
    kind.kind: kind for kind in (Vocabulary, Buckets, Rounded, Exact, Auxiliary)
}


def held(value: Any, dtype: str) -> Any:
    """Return a number as a dtype holds it; what is no float, as it is."""
    layout = _FLOATS.get(dtype)
    return value if layout is None else layout.unpack(layout.pack(value))[0]


def _narrow(column: Column, dtype: str) -> Sequence[Any]:
    """Return what `held` does, of every value."""
    one = _FLOATS.get(dtype)
    if one is None:
        return column
    many = struct.Struct(f"<{len(column)}{one.format[1:]}")
    return many.unpack(many.pack(*column))


def dump(kinds: Iterable[Kind]) -> bytes:
    """Serialize kinds, for this machine: a million strings are read fastest so."""
    return marshal.dumps([(k.kind, _values(k)) for k in kinds], _MARSHAL_VERSION)


def parse(data: bytes) -> list[Kind]:
    """Return what `dump` serialized."""
    return [_kind(kind, values) for kind, values in marshal.loads(data)]


def _values(kind: Kind) -> list[Any]:
    """A kind's fields, its set as a list: marshal would sort a set, slowly."""
    values = [getattr(kind, field.name) for field in fields(kind)]
    return [list(v) if isinstance(v, frozenset) else v for v in values]


def _kind(kind: str, values: list[Any]) -> Kind:
    fields: list[Any] = [frozenset(v) if isinstance(v, list) else v for v in values]
    return KINDS[kind](*fields)
