"""What a row's canonical row is, and its key.

The model is evaluated on the canonical row and the key is made from it: an answer from
the cache is the one that would be computed.
"""

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import Any

import orjson

from gomlx.contract.canonical import FLOATS, Auxiliary, Buckets, Kind, Vocabulary
from gomlx.contract.key import KeyMaker
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor, Value


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
    layout = FLOATS.get(kind.dtype)
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


def digest(parts: Iterable[bytes]) -> str:
    """Digest parts in their order, each with its length: 32 hex digits."""
    state = blake2b(digest_size=16)
    for part in parts:
        state.update(struct.pack("<Q", len(part)) + part)
    return state.hexdigest()
