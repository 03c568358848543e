"""An entry of L1, as it stands in a log.

    CRC-32 of the rest     4 bytes
    key                   16
    length of the answer   4
    expiry                 8, a double: seconds since 1970
    answer
    zeros                  to a multiple of 8 bytes

All are little-endian. The CRC covers the key, so bytes that were an entry of another
key, or of two, do not pass for one.
"""

import struct
from zlib import crc32

HEAD = struct.Struct("<I16sId")
HEAD_BYTES = HEAD.size
CHECKSUM_BYTES = 4
_REST = struct.Struct("<16sId")
_PADDING = [bytes(-length % 8) for length in range(8)]


def encode(key: bytes, expiry: float, answer: bytes) -> bytes:
    """Return the entry of a key; expiry is in seconds since 1970."""
    rest = _REST.pack(key, len(answer), expiry) + answer
    return sealed(rest, crc32(rest))


def sealed(rest: bytes, checksum: int) -> bytes:
    """Return the entry of a checksum and of what stands behind it, without padding."""
    padding = _PADDING[len(rest) + CHECKSUM_BYTES & 7]
    return checksum.to_bytes(CHECKSUM_BYTES, "little") + rest + padding
