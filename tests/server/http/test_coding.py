"""What a packed body may be, and how much of it is unpacked."""

import gzip
import random
import tracemalloc
import zlib

import pytest

from gomlx.errors import InvalidInput, TooLarge
from gomlx.server.http.coding import UnsupportedCoding, coding_of, unpacked

LIMIT = 100_000


@pytest.mark.parametrize(
    ("value", "coding"),
    [
        (None, ""),
        ("", ""),
        ("identity", ""),
        ("gzip", "gzip"),
        ("X-GZip", "gzip"),
        (" deflate , identity", "deflate"),
    ],
)
def test_codings(value: str | None, coding: str) -> None:
    assert coding_of(value) == coding


@pytest.mark.parametrize("value", ["br", "gzip, deflate", "gzip;q=1", "gzi", "zip"])
def test_other_codings(value: str) -> None:
    with pytest.raises(UnsupportedCoding, match="gzip, deflate, identity"):
        coding_of(value)
    with pytest.raises(UnsupportedCoding, match="one of: identity"):
        coding_of("gzip", "identity")


@pytest.mark.parametrize("size", [0, 1, 16_384, 70_000, LIMIT])
def test_what_is_packed_comes_back(size: int) -> None:
    data = random.Random(size).randbytes(size)
    for body, coding in (
        (gzip.compress(data), "gzip"),
        (zlib.compress(data), "deflate"),
    ):
        assert unpacked(body, coding, LIMIT) == data
        assert unpacked(body, coding, size) == data
        if size:
            with pytest.raises(TooLarge, match=f"larger than {size - 1} bytes"):
                unpacked(body, coding, size - 1)


def test_each_beginning_ends_too_soon() -> None:
    body = gzip.compress(b'{"x":1}')
    for end in range(len(body)):
        with pytest.raises(InvalidInput, match="gzip: it ends too soon"):
            unpacked(body[:end], "gzip", LIMIT)


def test_a_bomb_is_not_unpacked_beyond_the_limit() -> None:
    body = gzip.compress(b" " * 100_000_000)
    tracemalloc.start()
    with pytest.raises(TooLarge):
        unpacked(body, "gzip", LIMIT)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * LIMIT


def test_damaged_bodies_are_refused_or_unpacked() -> None:
    """Nothing else is raised, whatever the bytes."""
    rng = random.Random(1)
    for coding, body in (("gzip", gzip.compress), ("deflate", zlib.compress)):
        whole = body(b'{"x":[1,2,3]}' * 50)
        for _ in range(2000):
            damaged = bytearray(whole)
            damaged[rng.randrange(len(whole))] = rng.randrange(256)
            try:
                assert len(unpacked(bytes(damaged), coding, LIMIT)) <= LIMIT
            except (InvalidInput, TooLarge):
                continue
