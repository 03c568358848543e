"""Canonical row + version → the 16 bytes under which its answer is kept.

A row is encoded as

    head    one little-endian field per input: a number as itself; for text and
            blocks the byte length of its tail (4 bytes)
    tails   the bytes of each text and block, in input order

and the key is the blake2b digest (16 bytes, RFC 7693) of a seed and that encoding.
The seed digests the version with the inputs' names and dtypes, so equal bytes of
different models or types never meet. No separator is used, so none can be forged.
"""

import struct
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Scalar, Tensor, Value

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
        self._seed = _seed(version, signature.inputs)
        self._tailed = [_has_tail(tensor) for tensor in signature.inputs]
        self._dtypes = [tensor.dtype for tensor in signature.inputs]
        codes = (
            "I" if tailed else _CODES[dtype]
            for tailed, dtype in zip(self._tailed, self._dtypes, strict=True)
        )
        self._head = struct.Struct("<" + "".join(codes))

    def keys(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the key of every row, in order."""
        if len(rows) == 1:
            return [self._key(rows[0])]
        if not rows:
            return []
        heads: list[Iterable[Value]] = []
        tails: list[list[bytes]] = []
        # PERF: column by column, so that what is the same for every row of a batch
        # (which field, which encoder) is decided once.
        columns = zip(*rows, strict=True)
        for values, tailed, dtype in zip(
            columns, self._tailed, self._dtypes, strict=True
        ):
            if tailed:
                tails.append([_tail(value, dtype) for value in values])
                heads.append(map(len, tails[-1]))
            else:
                heads.append(values)
        packed = map(self._head.pack, *heads)
        if not tails:
            return [self._digest(head) for head in packed]
        joined = map(b"".join, zip(*tails, strict=True))
        return [
            self._digest(head + tail) for head, tail in zip(packed, joined, strict=True)
        ]

    def _key(self, row: Row) -> bytes:
        """What `keys` does, for the one row of most requests."""
        head: list[Value] = []
        tails: list[bytes] = []
        for value, tailed, dtype in zip(row, self._tailed, self._dtypes, strict=True):
            if tailed:
                tail = value.encode() if type(value) is str else _tail(value, dtype)
                tails.append(tail)
                head.append(len(tail))
            else:
                head.append(value)
        return self._digest(self._head.pack(*head) + b"".join(tails))

    def _digest(self, encoded: bytes) -> bytes:
        return blake2b(self._seed + encoded, digest_size=KEY_BYTES).digest()


def _seed(version: str, inputs: Iterable[Tensor]) -> bytes:
    digest = blake2b(b"gomlx key 1\n", digest_size=KEY_BYTES)
    for text in (version, *(part for t in inputs for part in (t.name, t.dtype))):
        data = text.encode()
        digest.update(struct.pack("<I", len(data)) + data)
    return digest.digest()


def _has_tail(tensor: Tensor) -> bool:
    return tensor.dtype == "string" or not tensor.is_scalar


def _tail(value: Value, dtype: str) -> bytes:
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bytes):
        return value
    assert isinstance(value, Block)
    dims = struct.pack(f"<{len(value.shape) + 1}I", len(value.shape), *value.shape)
    return dims + _leaves(value.leaves, dtype)


def _leaves(leaves: Sequence[Scalar], dtype: str) -> bytes:
    if dtype != "string":
        return struct.pack(f"<{len(leaves)}{_CODES[dtype]}", *leaves)
    texts = [leaf.encode() if isinstance(leaf, str) else leaf for leaf in leaves]
    lengths = struct.pack(f"<{len(texts)}I", *map(len, texts))  # type: ignore[arg-type]
    return lengths + b"".join(texts)  # type: ignore[arg-type]  # strings by dtype
