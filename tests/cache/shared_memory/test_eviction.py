"""What a full store evicts."""

from pathlib import Path

import pytest

from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.parts.l1_hit_ratio import hit_ratios
from tests.cache.clock import Clock
from tests.cache.entries import SIZE, TTL, entries, hits, key

_L0_SECONDS = 1.1  # after which L0 has forgotten all


def test_writing_far_more_than_fits_keeps_the_newest(
    store: SharedMemory, directory: Path, clock: Clock
) -> None:
    before = _blocks(directory)
    for start in range(0, 50_000, 100):
        store.set_many(entries(range(start, start + 100)))
        assert len(hits(store, range(start, start + 100))) == 100
    clock.now += _L0_SECONDS
    assert len(hits(store, range(48_500, 50_000))) == 1500
    assert hits(store, range(10_000)) == set()
    assert _blocks(directory) == before


def _blocks(directory: Path) -> tuple[int, int]:
    data = (directory / "data.mdb").stat()
    return data.st_size, data.st_blocks


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2, 0.3])
def test_large_answers_are_evicted_as_well(store: SharedMemory, share: float) -> None:
    value = b"x" * int(SIZE * share)
    for number in range(150):
        store.set_many({key(number): (value, TTL)})
    assert store.get_many([key(149)]) == {key(149): value}
    assert store.get_many([key(n) for n in range(75)]) == {}


def test_hot_answers_live_while_the_rest_is_evicted(
    store: SharedMemory, clock: Clock
) -> None:
    store.set_many(entries(range(2)))
    for start in range(1000, 40_000, 100):
        clock.now += _L0_SECONDS
        assert hits(store, range(1)) == {0}
        store.set_many(entries(range(start, start + 100)))
    clock.now += _L0_SECONDS
    assert hits(store, range(2)) == {0}


def test_hot_answers_still_expire(store: SharedMemory, clock: Clock) -> None:
    store.set_many(entries(range(1)))
    for start in range(1000, 20_000, 100):
        clock.now += _L0_SECONDS
        assert hits(store, range(1)) == {0}
        store.set_many(entries(range(start, start + 100)))
    clock.now += TTL
    assert hits(store, range(1)) == set()


def test_it_chooses_nearly_as_well_as_an_exact_lru() -> None:
    ratios = hit_ratios(megabytes=2, lookups=250_000, seed=1)
    assert ratios.entries > 9000
    assert ratios.lru > 0.5
    assert ratios.store > ratios.lru - 0.05
