"""The checksum of TensorFlow's checkpoints: CRC-32C, masked as LevelDB does.

A checksum is linear: those of the columns of a matrix of bytes are computed at the same
time, and joined. 400 MB take a second of numpy.
"""

from functools import cache
from math import isqrt

import numpy as np

_POLYNOMIAL = 0x82F63B78  # of Castagnoli, reflected
_MASK_DELTA = 0xA282EAD8
_MOST = 1 << 32
_LEAST_BYTES = 1024  # for columns to be worth while

Words = np.ndarray


def unmasked(masked: int) -> int:
    """Return the checksum of what a file has, rotated and shifted."""
    rotated = (masked - _MASK_DELTA) % _MOST
    return (rotated >> 17 | rotated << 15) % _MOST


def crc32c(data: "bytes | memoryview", before: int = 0) -> int:
    """Return the checksum of data that follows on data of another checksum."""
    found = before
    rest = memoryview(data).cast("B")
    while len(rest) >= _LEAST_BYTES:
        length = 1 << isqrt(len(rest) // 4).bit_length() - 1  # about as cheap to join
        whole = len(rest) - len(rest) % length
        found = _of_lanes(rest[:whole], length, found)
        rest = rest[whole:]
    return _of_bytes(rest, found)


def _of_bytes(data: memoryview, before: int) -> int:
    table = _bytes_table()
    found = before ^ 0xFFFFFFFF
    for byte in data:
        found = found >> 8 ^ table[(found ^ byte) & 0xFF]
    return found ^ 0xFFFFFFFF


def _of_lanes(data: memoryview, length: int, before: int) -> int:
    """Return the checksum of lanes of so many bytes, an even number."""
    table = _words_table()
    words = np.frombuffer(data, "<u2").reshape(-1, length // 2).T.copy()
    found = np.full(len(data) // length, 0xFFFFFFFF, np.uint32)
    for word in words:
        found = found >> 16 ^ table[(found ^ word) & 0xFFFF]
    joined = before
    shift = _shift_table(length)
    for one in (found ^ np.uint32(0xFFFFFFFF)).tolist():
        joined = _shifted(joined, shift) ^ one
    return joined


@cache
def _bytes_table() -> list[int]:
    """Return the checksum's change by each byte."""
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


@cache
def _words_table() -> Words:
    """Return the checksum's change by each two bytes."""
    table = np.array(_bytes_table(), np.uint32)
    words = np.arange(65536, dtype=np.uint32)
    once = table[words & 0xFF]
    twice: Words = once >> 8 ^ table[(once ^ words >> 8) & 0xFF]
    return twice


@cache
def _shift_table(length: int) -> list[list[int]]:
    """Return what so many zero bytes make of a checksum: a table for each of its bytes.

    It is linear: the change by all bits is the sum of those by each.
    """
    bits = np.array([1 << bit for bit in range(32)], np.uint32)
    table = np.array(_bytes_table(), np.uint32)
    for _ in range(length):
        bits = bits >> 8 ^ table[bits & 0xFF]
    sums = []
    for byte in range(4):
        of_byte = [0] * 256
        for value in range(256):
            for bit in range(8):
                if value >> bit & 1:
                    of_byte[value] ^= int(bits[8 * byte + bit])
        sums.append(of_byte)
    return sums


def _shifted(checksum: int, table: list[list[int]]) -> int:
    return (
        table[0][checksum & 0xFF]
        ^ table[1][checksum >> 8 & 0xFF]
        ^ table[2][checksum >> 16 & 0xFF]
        ^ table[3][checksum >> 24]
    )
