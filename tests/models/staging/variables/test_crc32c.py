"""Checksums: those of RFC 3720, and of parts that follow on each other."""

import random

import pytest

from gomlx.models.staging.variables.crc32c import crc32c, unmasked

KNOWN = {
    b"": 0,
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
}


@pytest.mark.parametrize(("data", "checksum"), KNOWN.items())
def test_known_checksums(data: bytes, checksum: int) -> None:
    assert crc32c(data) == checksum


@pytest.mark.parametrize("size", [1023, 1024, 1025, 5_000, 99_999, 1_048_577])
def test_columns_give_what_bytes_do(size: int) -> None:
    """Data of up to 1,023 bytes are taken byte by byte, longer data in columns."""
    data = random.Random(size).randbytes(size)
    bytewise = 0
    for start in range(0, size, 1000):
        bytewise = crc32c(data[start : start + 1000], bytewise)
    assert crc32c(data) == bytewise


def test_a_masked_checksum() -> None:
    masked = ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) % 2**32
    assert unmasked(masked) == 0xE3069283
