"""The kinds of inputs: each maps a value to its canonical value.

    Vocabulary   a value in the vocabulary is itself, all others are one: `unknown`
    Buckets      all values between two thresholds are one
    Rounded      the value rounded to the precision that the config gives
    Exact        the value itself, as its dtype holds it
    Auxiliary    not fed to the model; in the key only if the config names it

A kind is proved from the model's graph at staging, or given by the config; proof says
how. The model is fed the canonical value. `canonical_value` maps one value and
`canonical_column` a column: most requests hold one row, and a column of one costs
several times as much as a value.
"""

import marshal
import math
import struct
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import repeat
from typing import Any, ClassVar

from gomlx.contract.dtypes import FLOAT_LIMITS, STRUCT_CODES
from gomlx.contract.tensor import Scalar

Column = Sequence[Scalar]
_FLOATS = {dtype: struct.Struct(f"<{STRUCT_CODES[dtype]}") for dtype in FLOAT_LIMITS}
# The float before 0.5: added to the float before any half, it stays below the whole.
_HALF = 0.49999999999999994
_WHOLE = 2.0**53  # floats beyond it have no decimals
_MARSHAL_VERSION = 4  # every Python from 3.11 on reads it


@dataclass(frozen=True)
class Vocabulary:
    """The values that the model's lookup tables and constants know; others are UNK.

    unknown is the canonical value of every value that is out of vocabulary. It is one
    of them, chosen at staging, so it can be fed, and the model cannot tell it from the
    others. None if the vocabulary has every value.
    """

    kind: ClassVar = "vocabulary"
    known: frozenset[Scalar]
    unknown: Scalar
    proof: str

    def canonical_value(self, value: Any) -> Any:
        """Return the value that the model is fed for this one."""
        is_known = self.unknown is None or value in self.known
        return value if is_known else self.unknown

    def canonical_column(self, column: Column) -> Column:
        """Return the canonical value of every value, in order."""
        known = self.known
        unknown = self.unknown
        if unknown is None or known.issuperset(column):
            return column
        return [value if value in known else unknown for value in column]

    @property
    def distinct(self) -> int:
        """The number of canonical values; in other kinds None if there is no bound."""
        return len(self.known) + (self.unknown is not None)

    def why(self, value: Scalar) -> str:
        """Say why the canonical value differs from a value."""
        return f"not among the {len(self.known)} values that the model knows"


@dataclass(frozen=True)
class Buckets:
    """The buckets of a Bucketize operation; a value becomes its bucket's lower bound.

    thresholds ascend and are values of the dtype. below is the canonical value of all
    values less than the first threshold. NaN, which is in no bucket, is itself.
    """

    kind: ClassVar = "buckets"
    dtype: str
    thresholds: tuple[int | float, ...]
    below: int | float
    proof: str

    def canonical_value(self, value: Any) -> Any:
        # PERF: the dictionary passes no NaN, so that no other number is compared.
        return self._values[bisect_right(self.thresholds, cast(value, self.dtype))]

    def canonical_column(self, column: Column) -> Column:
        thresholds = self.thresholds
        values = self._values
        numbers = _cast_all(column, self.dtype)
        buckets = map(bisect_right, repeat(thresholds), numbers)
        found = list(map(values.__getitem__, buckets))
        if self.dtype in FLOAT_LIMITS and math.isnan(sum(numbers)):
            pairs = zip(numbers, found, strict=True)
            return [x if math.isnan(x) else value for x, value in pairs]
        return found

    @cached_property
    def _values(self) -> tuple[int | float, ...]:
        return (self.below, *self.thresholds)

    @property
    def distinct(self) -> int:
        return len(self.thresholds) + 1

    def why(self, value: Any) -> str:
        i = bisect_right(self.thresholds, cast(value, self.dtype))
        low, high = ("-∞", *self.thresholds, "∞")[i : i + 2]
        return f"in bucket {i} of {self.distinct}, from {low} to below {high}"


@dataclass(frozen=True)
class Rounded:
    """A float rounded to `precision` decimals, halves away from zero.

    The result is what the dtype holds. The product and the quotient are computed in
    float64, so that clients in other languages compute the same.
    """

    kind: ClassVar = "rounded"
    dtype: str
    precision: int
    proof: str

    def canonical_value(self, value: Any) -> Any:
        x = cast(value, self.dtype)
        return cast(_rounded(x, 10.0**self.precision), self.dtype)

    def canonical_column(self, column: Column) -> Column:
        scale = 10.0**self.precision
        values = _cast_all(column, self.dtype)
        return _cast_all([_rounded(x, scale) for x in values], self.dtype)

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
    # PERF: the fastest of the equivalent expressions (loadtests/parts/keys.py).
    return (y + _HALF) // 1 / scale if y >= 0 else (0.0 - (_HALF - y) // 1) / scale


@dataclass(frozen=True)
class Exact:
    """The value itself; proof says why nothing coarser is proved."""

    kind: ClassVar = "exact"
    dtype: str
    proof: str

    def canonical_value(self, value: Any) -> Any:
        return cast(value, self.dtype)

    def canonical_column(self, column: Column) -> Column:
        return _cast_all(column, self.dtype)

    @property
    def distinct(self) -> int | None:
        return 2 if self.dtype == "bool" else None

    def why(self, value: Scalar) -> str:
        return f"as {self.dtype} holds it"


@dataclass(frozen=True)
class Auxiliary:
    """An input that the model is not fed; the transformer gets its value as it is."""

    kind: ClassVar = "auxiliary"
    is_in_key: bool
    proof: str

    def canonical_value(self, value: Any) -> Any:
        return value

    def canonical_column(self, column: Column) -> Column:
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


def cast(value: Any, dtype: str) -> Any:
    """Return a number as a float dtype holds it; of other dtypes, the value itself."""
    layout = _FLOATS.get(dtype)
    return value if layout is None else layout.unpack(layout.pack(value))[0]


def _cast_all(column: Column, dtype: str) -> Sequence[Any]:
    """Return what `cast` returns for every value."""
    one = _FLOATS.get(dtype)
    if one is None:
        return column
    many = struct.Struct(f"<{len(column)}{one.format[1:]}")
    return many.unpack(many.pack(*column))


def dump(kinds: Iterable[Kind]) -> bytes:
    """Serialize kinds for this machine: marshal reads a million strings fastest."""
    return marshal.dumps([(k.kind, _values(k)) for k in kinds], _MARSHAL_VERSION)


def parse(data: bytes) -> list[Kind]:
    """Return the kinds that `dump` serialized. The bytes must be trusted."""
    return [_kind(kind, values) for kind, values in marshal.loads(data)]


def _values(kind: Kind) -> list[Any]:
    """Return a kind's fields, a set as a list: marshal would sort a set, slowly."""
    values = [getattr(kind, field.name) for field in fields(kind)]
    return [list(v) if isinstance(v, frozenset) else v for v in values]


def _kind(kind: str, values: list[Any]) -> Kind:
    fields: list[Any] = [frozenset(v) if isinstance(v, list) else v for v in values]
    return KINDS[kind](*fields)
