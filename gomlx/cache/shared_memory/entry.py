"""An entry of L1: expiry (a little-endian double), answer, checksum (CRC-32)."""

import struct
from zlib import crc32

EXPIRY = struct.Struct("<d")
EXPIRY_BYTES = EXPIRY.size
CHECKSUM_BYTES = 4


def encode(key: bytes, expiry: float, answer: bytes) -> bytes:
    """Return the entry of a key; expiry is in seconds since 1970."""
    rest = EXPIRY.pack(expiry) + answer
    return rest + crc32(key + rest).to_bytes(CHECKSUM_BYTES, "little")
