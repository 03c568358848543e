"""Answers that show whether they are right."""

from pathlib import Path

from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.stores import answer, key

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


WRITTEN = range(8000)  # by the fixture of that name


def held(directory: Path) -> set[int]:
    """Return which of those written a store holds; it must go on working."""
    store = SharedMemory(directory)
    before = hits(store, WRITTEN)
    for start in range(10_000, 16_000, 100):
        store.set_many(entries(range(start, start + 100)))
        assert len(hits(store, range(start, start + 100))) > 95
    store.close()
    return before


def overwrite(directory: Path, offset: int, data: bytes) -> None:
    with (directory / "ring").open("r+b") as file:
        file.seek(offset)
        file.write(data)
