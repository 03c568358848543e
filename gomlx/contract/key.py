"""Canonical row + version → the 16 bytes under which its answer is kept.

A row is encoded, little-endian and without padding, as

    lengths   of each text, then of each block: in bytes, as 4 bytes
    numbers   each as its dtype holds it, bfloat16 as float32
    tails     the bytes of each text, then of each block

each in input order, and the key is the blake2b digest (16 bytes, RFC 7693) of a seed
and that encoding. The seed digests the version with the inputs' names and dtypes, so
equal bytes of different models or types never meet. No separator is used, so none can
be forged.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Any

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor

KEY_BYTES = 16
_CODES = {
    "bool": "?",
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float16": "e",
    "bfloat16": "f",
    "float32": "f",
    "float64": "d",
}


class KeyMaker:
    """Makes the keys of one version's rows."""

    def __init__(self, version: str, signature: Signature) -> None:
        inputs = list(enumerate(signature.inputs))
        texts = [i for i, t in inputs if t.is_scalar and t.dtype == "string"]
        numbers = [i for i, t in inputs if t.is_scalar and t.dtype != "string"]
        self._texts, self._numbers = _picker(texts), _picker(numbers)
        self._blocks = [(i, t.dtype) for i, t in inputs if not t.is_scalar]
        codes = "".join(_CODES[signature.inputs[i].dtype] for i in numbers)
        self._pack = struct.Struct(f"<{len(texts) + len(self._blocks)}I{codes}").pack
        # PERF: a copy costs 0.6 of what a new one does (loadtests/keys.py).
        seed = _seed(version, signature.inputs)
        self._seeded = blake2b(seed, digest_size=KEY_BYTES)

    def keys(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the key of every row, in order."""
        if len(rows) == 1:
            return [self.key(rows[0])]
        if not rows:
            return []
        # PERF: column by column, so that what is the same for every row of a batch
        # is decided once (loadtests/keys.py).
        columns = list(zip(*rows, strict=True))
        tails = [_utf8(texts) for texts in self._texts(columns)]
        tails += [[_block(b, dtype) for b in columns[i]] for i, dtype in self._blocks]
        lengths = [map(len, column) for column in tails]
        heads = map(self._pack, *lengths, *self._numbers(columns))
        digests = []  # PERF: no call a row
        for encoded in map(b"".join, zip(heads, *tails, strict=True)):
            digest = self._seeded.copy()
            digest.update(encoded)
            digests.append(digest.digest())
        return digests

    def key(self, row: Row) -> bytes:
        """What `keys` does, for the one row of most requests."""
        tails = _utf8(self._texts(row))
        if self._blocks:
            tails += [_block(row[i], dtype) for i, dtype in self._blocks]
        head = self._pack(*map(len, tails), *self._numbers(row))
        digest = self._seeded.copy()
        digest.update(head + b"".join(tails))
        return digest.digest()


def _picker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return a function that picks the elements of a row that are in these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda row: [row[i] for i in places] if places else ()


def _seed(version: str, inputs: Iterable[Tensor]) -> bytes:
    digest = blake2b(b"gomlx key 2\n", digest_size=KEY_BYTES)
    for text in (version, *(part for t in inputs for part in (t.name, t.dtype))):
        data = text.encode()
        digest.update(struct.pack("<I", len(data)) + data)
    return digest.digest()


def _utf8(texts: Sequence[Any]) -> list[bytes]:
    try:
        return list(map(str.encode, texts))
    except TypeError:  # some are bytes: those that are no UTF-8
        return [t.encode() if isinstance(t, str) else t for t in texts]


def _block(block: Any, dtype: str) -> bytes:
    """Return the number of dimensions, the dimensions and the leaves of a Block."""
    assert isinstance(block, Block)
    shape, leaves = block
    dims = struct.pack(f"<{len(shape) + 1}I", len(shape), *shape)
    if dtype != "string":
        return dims + struct.pack(f"<{len(leaves)}{_CODES[dtype]}", *leaves)
    texts = _utf8(leaves)
    return dims + struct.pack(f"<{len(texts)}I", *map(len, texts)) + b"".join(texts)
