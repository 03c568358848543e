"""What a row's canonical row is, and its key.

The model is evaluated on the canonical row and the key is made from it: an answer from
the cache is the one that would be computed.
"""

import re
import struct
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from hashlib import blake2b
from typing import Any

import orjson

from gomlx.contract.canonical import Auxiliary, Kind, Vocabulary
from gomlx.contract.key import KeyMaker
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor
from gomlx.errors import InvalidInput

_SURROGATE = re.compile("[\ud800-\udfff]").search


class Dictionary:
    """The kinds of one version's inputs; makes its canonical rows and their keys."""

    def __init__(
        self, version: str, signature: Signature, kinds: Sequence[Kind]
    ) -> None:
        self.kinds, self.tensors = tuple(kinds), signature.fields
        fields = list(zip(self.tensors, self.kinds, strict=True))
        self._columns = [
            k.canonical if t.is_scalar else partial(_blocks, k) for t, k in fields
        ]
        # PERF: what most inputs are goes without a call a value (loadtests/keys.py).
        self._vocabularies = [
            (i, k.known, k.unknown)
            for i, (t, k) in enumerate(fields)
            if t.is_scalar and isinstance(k, Vocabulary) and k.unknown is not None
        ]
        places = {i for i, _, _ in self._vocabularies}
        self._others: list[tuple[int, Callable[[Any], Any]]] = [
            (i, k.one if t.is_scalar else partial(_block, k))
            for i, (t, k) in enumerate(fields)
            if i not in places
        ]
        auxiliaries = self.kinds[len(signature.inputs) :]
        self._joined = [  # where the auxiliary inputs are that join the key
            i
            for i, kind in enumerate(auxiliaries, len(signature.inputs))
            if isinstance(kind, Auxiliary) and kind.is_in_key
        ]
        self._width = len(signature.inputs) if auxiliaries else None
        keyed = (Tensor(self.tensors[i].name, "string", ()) for i in self._joined)
        self._keys = KeyMaker(version, Signature((*signature.inputs, *keyed), ()))

    def canonical(self, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that the model is to be evaluated on."""
        if len(rows) == 1:
            return [self.canonical_row(rows[0])]
        # PERF: column by column (loadtests/keys.py).
        columns = zip(*rows, strict=True)
        pairs = zip(self._columns, columns, strict=True)
        return list(zip(*[collapse(column) for collapse, column in pairs], strict=True))

    def canonical_row(self, row: Row) -> Row:
        """What `canonical` does, for the one row of most requests."""
        values = list(row)
        for i, known, unknown in self._vocabularies:
            if values[i] not in known:
                values[i] = unknown
        for i, one in self._others:
            values[i] = one(values[i])
        return tuple(values)

    def keys(self, canonical: Sequence[Row]) -> list[bytes]:
        """Return the key of every canonical row.

        Raises InvalidInput for a lone surrogate: half a character, which JSON cannot
        hold but a Python string can.
        """
        try:
            return self._keys.keys(self._keyed(canonical))
        except (UnicodeEncodeError, orjson.JSONEncodeError):
            self._refuse_surrogates(canonical)
            raise

    def _keyed(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return the inputs of each row, and as text the auxiliary ones in its key."""
        if self._width is None:
            return rows
        width, joined = self._width, self._joined
        return [
            (*row[:width], *[orjson.dumps(row[i]).decode() for i in joined])
            for row in rows
        ]

    def _refuse_surrogates(self, rows: Sequence[Row]) -> None:
        for n, row in enumerate(rows):
            for tensor, value in zip(self.tensors, row, strict=True):
                leaves = value.leaves if isinstance(value, Block) else (value,)
                if any(isinstance(v, str) and _SURROGATE(v) for v in leaves):
                    reason = "expected text, got a lone surrogate"
                    which = n if len(rows) > 1 else None
                    raise InvalidInput(reason, tensor.name, which)


def _block(kind: Kind, block: Block) -> Block:
    """Collapse a block element by element."""
    return Block(block.shape, tuple(kind.canonical(block.leaves)))


def _blocks(kind: Kind, column: Sequence[Block]) -> list[Block]:
    return [_block(kind, block) for block in column]


def digest(parts: Iterable[bytes]) -> str:
    """Digest parts in their order, each with its length: 32 hex digits."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(struct.pack("<Q", len(part)) + part)
    return state.hexdigest()
