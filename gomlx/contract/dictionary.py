"""All vocabularies and other kinds of a version: checked rows → canonical rows → keys.

The model is evaluated on the canonical row and the key is made from it: an answer from
the cache is the one that would be computed.
"""

import math
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import orjson

from gomlx.contract.canonical import Auxiliary, Exact, Kind, Vocabulary
from gomlx.contract.dtypes import FLOAT_LIMITS, STRUCT_CODES
from gomlx.contract.key import KeyMaker, picker
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Scalar, Tensor
from gomlx.contract.values.packing import pack, unpack
from gomlx.errors import InvalidInput

_SURROGATE = re.compile("[\ud800-\udfff]").search


class Dictionary:
    """The kinds of one version's inputs; makes its canonical rows and their keys.

    kinds has one for every input and auxiliary input, in row order.
    """

    def __init__(
        self, version: str, signature: Signature, kinds: Sequence[Kind]
    ) -> None:
        self.kinds = tuple(kinds)
        self.tensors = signature.fields
        fields = list(zip(self.tensors, self.kinds, strict=True))
        self._columns = [_column_function(t, k) for t, k in fields]
        # PERF: the values of scalar vocabularies, which most inputs are, collapse
        # without a call a value (loadtests/parts/keys.py).
        self._vocabularies = _scalar_vocabularies(fields)
        self._floats = _ExactFloats(fields)
        done = {*self._floats.places, *[i for i, _, _ in self._vocabularies]}
        self._others = [
            (i, _value_function(t, k))
            for i, (t, k) in enumerate(fields)
            if i not in done and not isinstance(k, Exact | Auxiliary)
        ]
        self._width = len(signature.inputs) if signature.auxiliaries else None
        self._keyed_places = _keyed_auxiliaries(self.kinds, len(signature.inputs))
        texts = [Tensor(self.tensors[i].name, "string", ()) for i in self._keyed_places]
        self._keys = KeyMaker(version, Signature((*signature.inputs, *texts), ()))

    def canonical(self, rows: Sequence[Row]) -> list[Row]:
        """Return the canonical row of every checked row, in order."""
        if len(rows) == 1:
            return [self.canonical_row(rows[0])]
        # PERF: column by column (loadtests/parts/keys.py).
        columns = zip(*rows, strict=True)
        pairs = zip(self._columns, columns, strict=True)
        return list(zip(*[collapse(column) for collapse, column in pairs], strict=True))

    def canonical_row(self, row: Row) -> Row:
        """Return what `canonical` returns for one row.

        PERF: most requests hold one row (loadtests/parts/keys.py).
        """
        values = list(row)
        for i, known, unknown in self._vocabularies:
            if values[i] not in known:
                values[i] = unknown
        for i, collapse in self._others:
            values[i] = collapse(values[i])
        if self._floats.places:
            self._floats.cast(values)
        return tuple(values)

    def keys(self, canonical: Sequence[Row]) -> list[bytes]:
        """Return the 16-byte key of every canonical row, in order.

        Raises InvalidInput for a lone surrogate: half a character, which JSON cannot
        hold but a Python string can.
        """
        try:
            rows = canonical if self._width is None else self._keyed(canonical)
            return self._keys.keys(rows)
        except (UnicodeEncodeError, orjson.JSONEncodeError):
            self._refuse_surrogates(canonical)
            raise

    def _keyed(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return what the key of each row is made from: its inputs and, as JSON text,
        its auxiliary inputs that key_fields names."""
        width = self._width
        places = self._keyed_places
        return [
            (*row[:width], *[orjson.dumps(row[i]).decode() for i in places])
            for row in rows
        ]

    def _refuse_surrogates(self, rows: Sequence[Row]) -> None:
        for n, row in enumerate(rows):
            for tensor, value in zip(self.tensors, row, strict=True):
                texts = value.elements if isinstance(value, Block) else (value,)
                if any(isinstance(v, str) and _SURROGATE(v) for v in texts):
                    reason = "expected text, got a lone surrogate"
                    which = n if len(rows) > 1 else None
                    raise InvalidInput(reason, tensor.name, which)


Fields = Sequence[tuple[Tensor, Kind]]


def _column_function(tensor: Tensor, kind: Kind) -> Callable[[Any], Sequence[Any]]:
    """Return the function that makes a column of an input canonical."""
    if tensor.is_scalar:
        return kind.canonical_column
    return partial(_blocks, _value_function(tensor, kind))


def _value_function(tensor: Tensor, kind: Kind) -> Callable[[Any], Any]:
    """Return the function that makes a value of an input canonical."""
    if tensor.is_scalar:
        collapse = kind.canonical_value
        return partial(_number_or_nan, collapse) if tensor.missing else collapse
    # A block holds its elements as the dtype does: an exact one is canonical.
    return _same if isinstance(kind, Exact) else partial(_block, kind, tensor.dtype)


def _scalar_vocabularies(
    fields: Fields,
) -> list[tuple[int, frozenset[Scalar], Scalar]]:
    """Return the place in a row, the known values and the unknown value of each scalar
    input whose vocabulary does not have every value."""
    return [
        (i, kind.known, kind.unknown)
        for i, (tensor, kind) in enumerate(fields)
        if tensor.is_scalar
        and isinstance(kind, Vocabulary)
        and kind.unknown is not None
    ]


class _ExactFloats:
    """The scalar floats of a row that are only cast to their dtypes, all in one step.

    places: where in a row they are.
    """

    def __init__(self, fields: Fields) -> None:
        self.places = [
            i
            for i, (tensor, kind) in enumerate(fields)
            if tensor.is_scalar
            and isinstance(kind, Exact)
            and tensor.dtype in FLOAT_LIMITS
        ]
        codes = [STRUCT_CODES[fields[i][0].dtype] for i in self.places]
        self._layout = struct.Struct("<" + "".join(codes))
        self._pick = picker(self.places)

    def cast(self, values: list[Any]) -> None:
        """Cast them in a row's values, as `canonical.cast` casts one."""
        numbers = self._layout.unpack(self._layout.pack(*self._pick(values)))
        for i, number in zip(self.places, numbers, strict=True):
            values[i] = number


def _keyed_auxiliaries(kinds: Sequence[Kind], first: int) -> list[int]:
    """Return the places in a row of the auxiliary inputs that are part of the key.

    first is the place of the first auxiliary input.
    """
    return [
        i
        for i, kind in enumerate(kinds[first:], first)
        if isinstance(kind, Auxiliary) and kind.is_in_key
    ]


def _block(kind: Kind, dtype: str, block: Block) -> Block:
    """Collapse a block element by element."""
    column = kind.canonical_column(unpack(block.elements, dtype))
    return Block(block.shape, pack(column, dtype))


def _number_or_nan(collapse: Callable[[Any], Any], number: Any) -> Any:
    """Collapse a number; NaN, which is in no bucket, is itself."""
    return number if math.isnan(number) else collapse(number)


def _same(block: Block) -> Block:
    return block


def _blocks(
    collapse: Callable[[Block], Block], column: Sequence[Block]
) -> Sequence[Block]:
    return list(map(collapse, column))


def digest(parts: Iterable[bytes]) -> str:
    """Digest parts in their order, each with its length: 32 hex digits.

    blake2b (RFC 7693), 16 bytes.
    """
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(struct.pack("<Q", len(part)) + part)
    return state.hexdigest()
