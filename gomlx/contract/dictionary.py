"""What each input's values collapse to, and so what a row's canonical row is.

The model is evaluated on the canonical row and the key is made from it: an answer from
the cache is the one that would be computed. Each input has one kind, a small class
with `canonical(column) -> column`:

    Vocabulary   what no table or constant knows is one value, `unknown`
    Buckets      what lies between two thresholds is one value
    Rounded      the config gives a precision
    Exact        the value itself, as its dtype holds it
    Auxiliary    not fed to the model; in the key only when the config says so
"""

import marshal
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from itertools import repeat
from typing import Any, ClassVar

import orjson

from gomlx.contract.key import KeyMaker
from gomlx.contract.signature import Block, Row, Scalar, Signature, Tensor, Value

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

    def canonical(self, column: Column) -> Column:
        thresholds, values = self.thresholds, self._values
        buckets = map(bisect_right, repeat(thresholds), narrow(column, self.dtype))
        return list(map(values.__getitem__, buckets))

    @cached_property
    def _values(self) -> tuple[int | float, ...]:
        return (self.below, *self.thresholds)

    @property
    def distinct(self) -> int:
        return len(self.thresholds) + 1

    def why(self, value: Scalar) -> str:
        (x,) = narrow((value,), self.dtype)
        i = bisect_right(self.thresholds, x)
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

    def canonical(self, column: Column) -> Column:
        scale = 10.0**self.precision
        values = narrow(column, self.dtype)
        if max(values) >= _WHOLE or min(values) <= -_WHOLE:
            # Some have no decimals.
            apart = ([x] for x in values)
            return values if len(values) == 1 else [self.canonical(x)[0] for x in apart]
        # PERF: of all ways to say it, the fastest (loadtests/keys.py). Never -0.0.
        rounded = [
            (y + _HALF) // 1 / scale
            if (y := x * scale) >= 0
            else (0.0 - (_HALF - y) // 1) / scale
            for x in values
        ]
        return narrow(rounded, self.dtype)

    @property
    def distinct(self) -> None:
        return None

    def why(self, value: Scalar) -> str:
        return f"rounded to {self.precision} decimals"


@dataclass(frozen=True)
class Exact:
    """The value itself; reason says why nothing coarser is proved."""

    kind: ClassVar = "exact"
    dtype: str
    proof: str

    def canonical(self, column: Column) -> Column:
        return narrow(column, self.dtype) if self.dtype in _FLOATS else column

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

    def canonical(self, column: Column) -> Column:
        return column

    @property
    def distinct(self) -> int | None:
        return None if self.is_in_key else 1

    def why(self, value: Scalar) -> str:
        return "not in key_fields"


Kind = Vocabulary | Buckets | Rounded | Exact | Auxiliary
_KINDS: dict[str, type[Kind]] = {
    kind.kind: kind for kind in (Vocabulary, Buckets, Rounded, Exact, Auxiliary)
}


class Dictionary:
    """The kinds of one version's inputs; makes its canonical rows and their keys."""

    def __init__(
        self, version: str, signature: Signature, kinds: Sequence[Kind]
    ) -> None:
        self.kinds, self.tensors = tuple(kinds), signature.fields
        self._collapses = [
            kind.canonical if tensor.is_scalar else _blockwise(kind)
            for tensor, kind in zip(self.tensors, kinds, strict=True)
        ]
        pairs = zip(kinds, self._collapses, strict=True)
        self._ones = [_one(kind, collapse) for kind, collapse in pairs]
        auxiliaries = self.kinds[len(signature.inputs) :]
        self._joined = [  # auxiliary inputs that join the key, and where they are
            (i, self.tensors[i])
            for i, kind in enumerate(auxiliaries, len(signature.inputs))
            if isinstance(kind, Auxiliary) and kind.is_in_key
        ]
        self._width = len(signature.inputs) if auxiliaries else None
        keyed = (Tensor(t.name, "string", ()) for _, t in self._joined)
        self._keys = KeyMaker(version, Signature((*signature.inputs, *keyed), ()))

    def canonical(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that the model is to be evaluated on."""
        if len(rows) == 1:
            return [tuple([one(v) for one, v in zip(self._ones, rows[0], strict=True)])]
        # PERF: column by column (loadtests/keys.py).
        columns = zip(*rows, strict=True)
        return list(
            zip(
                *[
                    collapse(column)
                    for collapse, column in zip(self._collapses, columns, strict=True)
                ],
                strict=True,
            )
        )

    def keys(self, canonical: Sequence[Row]) -> list[bytes]:
        """Return the key of every canonical row."""
        if self._width is None:
            return self._keys.keys(canonical)
        joined, width = [i for i, _ in self._joined], self._width
        return self._keys.keys(
            [
                (*row[:width], *(orjson.dumps(row[i]).decode() for i in joined))
                for row in canonical
            ]
        )


def _one(
    kind: Kind, collapse: Callable[[Any], Sequence[Value]]
) -> Callable[[Any], Any]:
    """Collapse a single value, which most requests hold of each input."""
    is_scalar = collapse == kind.canonical
    if is_scalar and isinstance(kind, Vocabulary) and kind.unknown is not None:
        known, unknown = kind.known, kind.unknown
        return lambda value: value if value in known else unknown
    if is_scalar and isinstance(kind, Buckets):
        return _bucket_of(kind)
    return lambda value: collapse((value,))[0]


def _bucket_of(kind: Buckets) -> Callable[[Any], Any]:
    thresholds, values = kind.thresholds, (kind.below, *kind.thresholds)
    layout = _FLOATS.get(kind.dtype)
    if layout is None:
        return lambda value: values[bisect_right(thresholds, value)]
    pack, unpack = layout.pack, layout.unpack
    return lambda value: values[bisect_right(thresholds, unpack(pack(value))[0])]


def _blockwise(kind: Kind) -> Callable[[Sequence[Value]], Sequence[Value]]:
    """Collapse blocks element by element."""

    def canonical(column: Sequence[Value]) -> Sequence[Value]:
        blocks: Iterable[Block] = column  # type: ignore[assignment]  # not a scalar input
        return [Block(b.shape, tuple(kind.canonical(b.leaves))) for b in blocks]

    return canonical


def narrow(column: Column, dtype: str) -> Sequence[Any]:
    """Return numbers as a dtype holds them."""
    one = _FLOATS.get(dtype)
    if one is None:
        return column
    if len(column) == 1:
        return one.unpack(one.pack(column[0]))
    many = struct.Struct(f"<{len(column)}{one.format[1:]}")
    return many.unpack(many.pack(*column))


def dump(kinds: Iterable[Kind]) -> bytes:
    """Serialize kinds, for this machine: a million strings are read fastest so."""
    return marshal.dumps([(k.kind, _values(k)) for k in kinds], _MARSHAL_VERSION)


def parse(data: bytes) -> list[Kind]:
    """Return what `dump` serialized."""
    return [_kind(kind, values) for kind, values in marshal.loads(data)]


def digest(parts: Iterable[bytes]) -> str:
    """Digest parts in their order, each with its length: 32 hex digits."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(struct.pack("<Q", len(part)) + part)
    return state.hexdigest()


def _values(kind: Kind) -> list[Any]:
    """A kind's fields, its set as a list: marshal would sort a set, slowly."""
    values = [getattr(kind, field.name) for field in fields(kind)]
    return [list(v) if isinstance(v, frozenset) else v for v in values]


def _kind(kind: str, values: list[Any]) -> Kind:
    fields: list[Any] = [frozenset(v) if isinstance(v, list) else v for v in values]
    return _KINDS[kind](*fields)
