"""Canonical row + version → the 16-byte key of its answer.

A row is encoded, little-endian and without padding, as

    lengths   of each text, then of each block: in bytes, as 4 bytes
    numbers   each as its dtype holds it, bfloat16 as float32
    tails     the bytes of each text, then of each block

each in input order, and the key is the blake2b digest (16 bytes, RFC 7693) of a seed
and that encoding. The seed digests the version with the inputs' names and dtypes, so
equal bytes of different models or dtypes have different keys. There are no separators,
so none can be forged. tests/contract/vectors.json pins rows → keys.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from operator import itemgetter
from typing import Any

from gomlx.contract.dtypes import STRUCT_CODES
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor

KEY_BYTES = 16


class KeyMaker:
    """Makes the keys of one version's canonical rows.

    version is its digest. signature.inputs are the inputs that the key holds; auxiliary
    inputs in the key are string inputs here.
    """

    def __init__(self, version: str, signature: Signature) -> None:
        inputs = list(enumerate(signature.inputs))
        texts = [i for i, t in inputs if t.is_scalar and t.dtype == "string"]
        numbers = [i for i, t in inputs if t.is_scalar and t.dtype != "string"]
        self._texts = picker(texts)
        self._numbers = picker(numbers)
        self._blocks = [i for i, t in inputs if not t.is_scalar]
        codes = "".join(STRUCT_CODES[signature.inputs[i].dtype] for i in numbers)
        self._pack = struct.Struct(f"<{len(texts) + len(self._blocks)}I{codes}").pack
        # PERF: copying a digest costs 0.6 of making one (loadtests/parts/keys.py).
        seed = _seed(version, signature.inputs)
        self._seeded = blake2b(seed, digest_size=KEY_BYTES)

    def keys(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the 16-byte key of every row, in order.

        Raises UnicodeEncodeError for a text with a lone surrogate.
        """
        if len(rows) == 1:
            return [self.key(rows[0])]
        if not rows:
            return []
        # PERF: column by column, so that decisions that hold for every row of a batch
        # are made once (loadtests/parts/keys.py).
        columns = list(zip(*rows, strict=True))
        tails = [_utf8(texts) for texts in self._texts(columns)]
        tails += [list(map(_block, columns[i])) for i in self._blocks]
        lengths = [map(len, column) for column in tails]
        heads = map(self._pack, *lengths, *self._numbers(columns))
        digests = []  # PERF: no call of ours a row (loadtests/parts/keys.py)
        for encoded in map(b"".join, zip(heads, *tails, strict=True)):
            digest = self._seeded.copy()
            digest.update(encoded)
            digests.append(digest.digest())
        return digests

    def key(self, row: Row) -> bytes:
        """Return what `keys` returns for one row.

        PERF: most requests hold one row (loadtests/parts/keys.py).
        """
        tails = _utf8(self._texts(row))
        if self._blocks:
            tails += [_block(row[i]) for i in self._blocks]
        head = self._pack(*map(len, tails), *self._numbers(row))
        digest = self._seeded.copy()
        digest.update(head + b"".join(tails))
        return digest.digest()


def request_key(keys: Sequence[bytes]) -> bytes:
    """Return the key of rows that are answered together, from the keys of its rows.

    It digests their number and, in order, their keys, which digest the version.
    """
    head = struct.pack("<I", len(keys))
    data = b"gomlx request 1\n" + head + b"".join(keys)
    return blake2b(data, digest_size=KEY_BYTES).digest()


def picker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return a function that picks the elements of a row at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    # PERF: one place is picked without a call of ours, too.
    first = places[0] if places else 0
    return itemgetter(slice(first, first + len(places)))


def _seed(version: str, inputs: Iterable[Tensor]) -> bytes:
    """Digest the format's name, the version, and each input's name and dtype."""
    digest = blake2b(b"gomlx key 2\n", digest_size=KEY_BYTES)
    for text in (version, *(part for t in inputs for part in (t.name, t.dtype))):
        data = text.encode()
        digest.update(struct.pack("<I", len(data)) + data)
    return digest.digest()


def _utf8(texts: Sequence[Any]) -> list[bytes]:
    """Encode each text; bytes, which are texts that are not UTF-8, stay as they are."""
    try:
        return list(map(str.encode, texts))
    except TypeError:  # some are bytes
        return [t.encode() if isinstance(t, str) else t for t in texts]


def _block(block: Any) -> bytes:
    """Encode a Block: the number of dimensions, the dimensions, the elements.

    The counts take 4 bytes each. Texts are encoded as their lengths, then their bytes.
    """
    assert isinstance(block, Block)
    shape, elements = block
    dims = struct.pack(f"<{len(shape) + 1}I", len(shape), *shape)
    if isinstance(elements, bytes):
        return dims + elements
    texts = _utf8(elements)
    return dims + struct.pack(f"<{len(texts)}I", *map(len, texts)) + b"".join(texts)
