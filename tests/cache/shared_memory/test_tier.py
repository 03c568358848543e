"""L1 in real shared memory: what is found, and for how long."""

import time
from pathlib import Path

import pytest

from gomlx.cache.shared_memory.entry import CHECKSUM_BYTES, encode
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.refresh import RefreshQueue
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.errors import StoreUnavailable, TooLarge
from tests.cache.clock import Clock
from tests.cache.entries import SIZE, TTL, answer, entries, hits, key


def test_a_new_store_is_empty(store: SharedMemory) -> None:
    assert store.get_many([key(1), key(2)]) == {}
    assert store.get_many([]) == {}


def test_what_was_set_is_found_and_nothing_else(store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    assert hits(store, range(5)) == {0, 1, 2}


@pytest.mark.parametrize("value", [b"", b"\0", b"x" * 100_000])
def test_any_value_comes_back_as_it_was(store: SharedMemory, value: bytes) -> None:
    store.set_many({key(1): (value, TTL)})
    assert store.get_many([key(1)]) == {key(1): value}


def test_a_later_value_replaces_an_earlier_one(store: SharedMemory) -> None:
    store.set_many({key(1): (b"old", TTL)})
    store.set_many({key(1): (b"new", TTL)})
    assert store.get_many([key(1)]) == {key(1): b"new"}


def test_an_answer_expires(store: SharedMemory, clock: Clock) -> None:
    store.set_many(entries(range(1)))
    clock.now += TTL - 0.001
    assert hits(store, range(1)) == {0}
    clock.now += 0.001
    assert hits(store, range(1)) == set()


def test_every_answer_has_its_own_time_to_live(
    store: SharedMemory, clock: Clock
) -> None:
    start = clock.now
    lives = (-1.0, 0.0, 0.001, 1.5, 1e9)
    store.set_many({key(n): (answer(n), life) for n, life in enumerate(lives)})
    assert hits(store, range(5)) == {2, 3, 4}
    clock.now = start + 0.001
    assert hits(store, range(5)) == {3, 4}
    clock.now = start + 1.499
    assert hits(store, range(5)) == {3, 4}
    clock.now = start + 1.5
    assert hits(store, range(5)) == {4}


def test_an_answer_that_is_set_again_lives_on(
    store: SharedMemory, clock: Clock
) -> None:
    store.set_many(entries(range(2)))
    clock.now += TTL / 2
    store.set_many(entries(range(1)))
    clock.now += TTL / 2
    assert hits(store, range(2)) == {0}


def test_a_store_outlives_those_who_opened_it(directory: Path) -> None:
    first = SharedMemory(directory)
    first.set_many(entries(range(3)))
    first.close()
    second = SharedMemory(directory)
    assert hits(second, range(3)) == {0, 1, 2}
    second.close()


def test_an_answer_larger_than_the_store_is_refused(store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    for number in range(100, 103):
        with pytest.raises(TooLarge):
            store.set_many({key(number): (b"x" * 2 * SIZE, TTL)})
        assert hits(store, range(3)) == {0, 1, 2}
    store.set_many(entries(range(3, 6)))
    assert hits(store, range(6)) == set(range(6))


def test_a_store_may_be_opened_twice(directory: Path, store: SharedMemory) -> None:
    other = SharedMemory(directory)
    other.set_many(entries(range(1)))
    assert hits(store, range(1)) == {0}
    other.close()
    assert hits(store, range(1)) == {0}


def test_a_store_that_is_not_there_is_not_created(shared_folder: Path) -> None:
    store = SharedMemory(shared_folder / "store")
    assert list(shared_folder.iterdir()) == []
    assert store.usage() is None
    with pytest.raises(StoreUnavailable, match=r"store: No such file or directory"):
        store.get_many([key(1)])
    for write in (store.set_some, store.set_many):
        with pytest.raises(StoreUnavailable):
            write(entries(range(1)))
    store.close()


@pytest.mark.parametrize("size", [100, 3000, 5000, 30_000])
def test_hot_answers_live_on_whatever_their_size(directory: Path, size: int) -> None:
    create_store(directory, 4 << 20)
    store = SharedMemory(directory, l0=InProcessCache(max_entries=0))
    hot = key(1)
    computed = 0
    for start in range(1000, 80_000, 100):
        rest = dict(entries(range(start, start + 100)))
        if store.get_many([hot]) != {hot: b"x" * size}:
            rest[hot] = b"x" * size, TTL
            computed += 1
        while rest:  # as Local does
            written = store.set_some(rest)
            if written is None:
                store.set_many(rest)
                break
            for one in list(written):
                del rest[one]
    assert computed <= 3  # others may push it out of its bucket of the index
    store.close()


def queue(refresh: RefreshQueue, entry: bytes) -> None:
    """Have an entry of a length that needs no padding written again."""
    rest = entry[CHECKSUM_BYTES:]
    refresh.add(rest[:16], rest, int.from_bytes(entry[:CHECKSUM_BYTES], "little"))


def test_hot_answers_do_not_keep_a_large_one_waiting(directory: Path) -> None:
    create_store(directory, 8 << 20)
    refresh = RefreshQueue()
    store = SharedMemory(directory, refresh=refresh)
    store.set_many(entries(range(3)))
    expiry = time.time() + TTL
    for one, (value, _) in entries(range(3)).items():
        queue(refresh, encode(one, expiry, value))
    large = {key(9): (b"x" * 1_000_000, TTL)}
    assert store.set_some(large) is None
    assert len(refresh) == 0
    store.set_many(large)
    assert hits(store, range(3)) == {0, 1, 2}
    assert store.get_many([key(9)]) == {key(9): b"x" * 1_000_000}
    store.close()


def test_hot_answers_are_written_with_nothing_else(
    directory: Path, clock: Clock
) -> None:
    refresh = RefreshQueue()
    store = SharedMemory(directory, clock, refresh=refresh)
    queue(refresh, encode(key(1), clock.now + TTL, answer(1)))
    assert hits(store, range(1, 2)) == set()
    assert store.set_some({}) is not None
    assert len(refresh) == 0
    assert hits(store, range(1, 2)) == {1}
    store.close()


def test_l0_is_bounded_and_forgets(directory: Path, clock: Clock) -> None:
    l0 = InProcessCache()
    store = SharedMemory(directory, clock, l0)
    for start in range(0, 6000, 100):
        store.set_many(entries(range(start, start + 100)))
        hits(store, range(start, start + 100))
    assert 0 < len(l0.answers) <= 4096
    clock.now += 1.1
    hits(store, range(1))
    assert len(l0.answers) <= 1
    store.close()


def test_l0_answers_only_for_a_second(directory: Path, clock: Clock) -> None:
    l0 = InProcessCache()
    store = SharedMemory(directory, clock, l0)
    store.set_many({key(1): (b"old", TTL)})
    assert store.get_many([key(1)]) == {key(1): b"old"}
    store.set_many({key(1): (b"new", TTL)})
    assert store.get_many([key(1)]) == {key(1): b"old"}
    clock.now += 1.1
    assert store.get_many([key(1)]) == {key(1): b"new"}
    store.close()


def test_a_clock_that_is_set_back_loses_nothing(
    store: SharedMemory, clock: Clock
) -> None:
    store.set_many(entries(range(2)))
    assert hits(store, range(2)) == {0, 1}
    clock.now -= 1000
    assert hits(store, range(2)) == {0, 1}
    clock.now += 1000 + TTL
    assert hits(store, range(2)) == set()


def test_a_large_answer_is_not_kept_in_l0(directory: Path) -> None:
    l0 = InProcessCache()
    store = SharedMemory(directory, l0=l0)
    store.set_many({key(1): (b"x" * 2000, TTL)})
    assert store.get_many([key(1)]) == {key(1): b"x" * 2000}
    assert not l0.answers
    store.close()
