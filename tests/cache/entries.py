"""Answers that can be told right from wrong."""

from gomlx.cache.shm import SharedMemory
from loadtests.l1 import answer, key

__all__ = ["SIZE", "TTL", "answer", "entries", "key", "known"]

SIZE = 1 << 20
TTL = 100


def entries(numbers: range) -> dict[bytes, tuple[bytes, float]]:
    return {key(n): (answer(n), TTL) for n in numbers}


def known(store: SharedMemory, numbers: range) -> set[int]:
    """Which are found; what is found must be right."""
    found = store.get_many([key(n) for n in numbers])
    assert all(found.get(key(n), answer(n)) == answer(n) for n in numbers)
    return {n for n in numbers if key(n) in found}
