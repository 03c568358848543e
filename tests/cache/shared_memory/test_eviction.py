"""What a full store evicts."""

from pathlib import Path

import pytest

from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.hit_ratio import Traffic, fitting, hit_ratios
from tests.cache.clock import Clock
from tests.cache.entries import SIZE, TTL, entries, hits, key

_L0_SECONDS = 1.1  # after which L0 has forgotten all


def test_writing_far_more_than_fits_keeps_the_newest(
    store: SharedMemory, directory: Path, clock: Clock
) -> None:
    before = _blocks(directory)
    for start in range(0, 50_000, 100):
        store.set_many(entries(range(start, start + 100)))
        assert len(hits(store, range(start, start + 100))) > 95
    clock.now += _L0_SECONDS
    assert len(hits(store, range(49_500, 50_000))) > 490
    assert hits(store, range(10_000, 45_000)) == set()
    assert _blocks(directory) == before


def test_answers_that_were_asked_for_again_outlive_many_that_were_not(
    directory: Path, clock: Clock
) -> None:
    store = SharedMemory(directory, clock, InProcessCache(max_entries=0))
    store.set_many(entries(range(10_000, 20_000)))  # fills it
    for number in range(200):
        store.set_many(entries(range(number, number + 1)))
        store.set_many(entries(range(20_000 + number * 30, 20_030 + number * 30)))
        if number >= 15:
            hits(store, range(number - 15, number - 14))
    for start in range(30_000, 50_000, 100):
        store.set_many(entries(range(start, start + 100)))
    assert len(hits(store, range(180))) > 170
    assert hits(store, range(20_000, 26_000)) == set()
    store.close()


def test_an_answer_that_comes_back_is_kept(directory: Path, clock: Clock) -> None:
    """It was overwritten, but not long ago: a tenth of the store is for new ones."""
    store = SharedMemory(directory, clock, InProcessCache(max_entries=0))
    store.set_many(entries(range(10_000, 20_000)))  # fills it
    for loop in range(3):
        for start in range(0, 2000, 100):
            numbers = range(start, start + 100)
            found = hits(store, numbers)
            store.set_many(
                {k: v for n in set(numbers) - found for k, v in one(n).items()}
            )
        assert (len(hits(store, range(2000))) > 1900) == (loop > 0)
    store.close()


def one(number: int) -> dict[bytes, tuple[bytes, float]]:
    return entries(range(number, number + 1))


def _blocks(directory: Path) -> tuple[int, int]:
    data = (directory / "ring").stat()
    return data.st_size, data.st_blocks


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.15, 0.17])
def test_large_answers_are_evicted_as_well(store: SharedMemory, share: float) -> None:
    value = b"x" * int(SIZE * share)
    for number in range(150):
        store.set_many({key(number): (value, TTL)})
    assert store.get_many([key(149)]) == {key(149): value}
    assert store.get_many([key(n) for n in range(50, 75)]) == {}


def test_hot_answers_live_while_the_rest_is_evicted(
    store: SharedMemory, clock: Clock
) -> None:
    store.set_many(entries(range(2)))
    for start in range(1000, 40_000, 100):
        clock.now += _L0_SECONDS
        assert hits(store, range(1)) == {0}
        store.set_many(entries(range(start, start + 100)))
    clock.now += _L0_SECONDS
    assert hits(store, range(1)) == {0}


def test_hot_answers_are_kept_among_others_that_come_back(
    store: SharedMemory, clock: Clock
) -> None:
    store.set_many(entries(range(1)))
    for turn in range(300):
        clock.now += _L0_SECONDS
        assert hits(store, range(1)) == {0}
        start = 1000 + turn % 20 * 500  # more than fit
        store.set_many(entries(range(start, start + 500)))


def test_hot_answers_still_expire(store: SharedMemory, clock: Clock) -> None:
    store.set_many(entries(range(1)))
    for start in range(1000, 20_000, 100):
        clock.now += _L0_SECONDS
        assert hits(store, range(1)) == {0}
        store.set_many(entries(range(start, start + 100)))
    clock.now += TTL
    assert hits(store, range(1)) == set()


@pytest.mark.parametrize("answer_bytes", [100, 1000, 0])
def test_it_chooses_better_than_an_exact_lru(answer_bytes: int) -> None:
    """Which has no index; an answer_bytes of 0 stands for several lengths."""
    entries = fitting(2, answer_bytes)
    traffic = Traffic(10 * entries, 400_000, answer_bytes)
    ratios = hit_ratios(2, traffic)
    assert entries / 2 < ratios.live < entries
    assert ratios.lru > 0.5
    assert ratios.store > ratios.lru
