"""Stores that are removed, replaced or truncated while processes use them."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.keeper import StoreKeeper
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.errors import StoreUnavailable
from gomlx.metrics.instruments import Counter
from tests.cache.entries import SIZE, TTL, answer, entries, hits, key, overwrite


def removed(directory: Path) -> None:
    shutil.rmtree(directory)


def removed_with_its_parent(directory: Path) -> None:
    shutil.rmtree(directory.parent)


def emptied(directory: Path) -> None:
    os.truncate(directory / "ring", 0)


def truncated(directory: Path) -> None:
    os.truncate(directory / "ring", SIZE // 2)


def truncated_and_grown(directory: Path) -> None:
    emptied(directory)
    os.truncate(directory / "ring", SIZE)


def without_its_ring(directory: Path) -> None:
    (directory / "ring").unlink()


def without_its_first_page(directory: Path) -> None:
    overwrite(directory, 0, bytes(4096))


LOSSES = [
    removed,
    removed_with_its_parent,
    emptied,
    truncated,
    truncated_and_grown,
    without_its_ring,
    without_its_first_page,
]


@pytest.mark.parametrize("lose", LOSSES)
def test_a_process_does_without_until_there_is_a_new_store(
    directory: Path, lose: Callable[[Path], None]
) -> None:
    store = SharedMemory(directory, l0=InProcessCache(max_entries=0))
    store.set_many(entries(range(9)))
    lose(directory)
    store.look()
    assert str(directory) in store.problem
    with pytest.raises(StoreUnavailable):
        store.get_many([key(1)])
    StoreKeeper({directory: SIZE}).keep()
    store.look()
    assert not store.problem
    assert hits(store, range(9)) == set()
    store.set_many(entries(range(9)))
    assert hits(store, range(9)) == set(range(9))
    store.close()


def test_a_process_follows_a_store_that_was_replaced(directory: Path) -> None:
    first = SharedMemory(directory)
    create_store(directory, SIZE)
    second = SharedMemory(directory)
    first.look()
    first.set_many(entries(range(3)))
    assert hits(second, range(3)) == {0, 1, 2}
    first.close()
    second.close()


def test_a_write_looks_first(directory: Path) -> None:
    store = SharedMemory(directory)
    removed(directory)
    with pytest.raises(StoreUnavailable):
        store.set_some(entries(range(1)))
    store.close()


def test_a_store_that_is_whole_is_left_alone(directory: Path) -> None:
    store = SharedMemory(directory)
    store.set_many(entries(range(3)))
    StoreKeeper({directory: SIZE}).keep()
    store.look()
    assert hits(store, range(3)) == {0, 1, 2}
    store.close()


def test_a_store_that_is_made_anew_is_logged(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    removed(directory)
    StoreKeeper({directory: SIZE}).keep()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "begins anew" in record.message


def test_a_store_for_which_there_is_no_room_is_reported(directory: Path) -> None:
    with pytest.raises(StoreUnavailable, match="lower memory_mb"):
        StoreKeeper({directory: 10 << 40}).keep()


def where(directory: Path, number: int) -> int:
    """Return where in the file the answer of a number is."""
    place = (directory / "ring").read_bytes().find(answer(number))
    assert place > 0
    return place


@pytest.mark.parametrize("distance", [0, -1, -10, -13, -30])
def test_a_damaged_entry_is_counted_and_replaced(
    directory: Path, distance: int
) -> None:
    """In the answer, the expiry, the length and the key."""
    damaged = Counter()
    bare = InProcessCache(max_entries=0)
    store = SharedMemory(directory, l0=bare, damaged=damaged)
    store.set_many(entries(range(5)))
    place = where(directory, 3) + distance
    (byte,) = (directory / "ring").read_bytes()[place : place + 1]
    overwrite(directory, place, bytes([byte ^ 0x55]))
    assert hits(store, range(5)) == {0, 1, 2, 4}
    assert damaged.n == 1
    store.set_many({key(3): (answer(3), TTL)})
    assert hits(store, range(5)) == set(range(5))
    assert damaged.n == 1
    store.close()


def test_what_was_overwritten_is_a_miss_and_not_damaged(directory: Path) -> None:
    damaged = Counter()
    bare = InProcessCache(max_entries=0)
    store = SharedMemory(directory, l0=bare, damaged=damaged)
    for start in range(0, 60_000, 500):
        store.set_many(entries(range(start, start + 500)))
    found = hits(store, range(60_000))
    assert 1000 < len(found) < 20_000
    assert damaged.n == 0
    store.close()
