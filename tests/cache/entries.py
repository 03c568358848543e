"""Answers that show whether they are right."""

from pathlib import Path

from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.parts.l1_stores import answer, key

__all__ = ["answer", "entries", "held", "hits", "key", "overwrite"]

SIZE = 1 << 20
TTL = 3600


def entries(numbers: range) -> dict[bytes, tuple[bytes, float]]:
    return {key(n): (answer(n), TTL) for n in numbers}


def hits(store: SharedMemory, numbers: range) -> set[int]:
    """Return those that are found; their answers must be right."""
    found = store.get_many([key(n) for n in numbers])
    assert all(found.get(key(n), answer(n)) == answer(n) for n in numbers)
    return {n for n in numbers if key(n) in found}


NEWEST = range(6000, 8000)


def held(directory: Path) -> set[int]:
    """Return which of the newest a store holds; it must go on working."""
    store = SharedMemory(directory)
    before = hits(store, NEWEST)
    hits(store, range(6000))
    for start in range(10_000, 16_000, 100):
        store.set_many(entries(range(start, start + 100)))
        assert len(hits(store, range(start, start + 100))) == 100
    store.close()
    return before


def overwrite(directory: Path, offset: int, data: bytes) -> None:
    with (directory / "data.mdb").open("r+b") as file:
        file.seek(offset)
        file.write(data)
