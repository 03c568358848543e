"""Reading down to a tier, writing behind."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from gomlx.cache import tiered
from gomlx.cache.shm import SharedMemory
from gomlx.cache.store import create_store
from gomlx.cache.tiered import TierCounts, Tiered
from gomlx.metrics import Count


class Memory:
    """A tier that is a dict, and writes only while it may."""

    name = "memory"

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}
        self.seconds: dict[bytes, float] = {}
        self.writes: list[int] = []
        self.is_writing = threading.Event()
        self.may_write = threading.Event()
        self.may_write.set()
        self.is_closed = False

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        return {key: self.kept[key] for key in keys if key in self.kept}

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        self.is_writing.set()
        self.may_write.wait()
        self.writes.append(len(items))
        self.kept |= {key: value for key, (value, _) in items.items()}
        self.seconds |= {key: seconds for key, (_, seconds) in items.items()}

    def close(self) -> None:
        self.is_closed = True


class Broken(Memory):
    """A tier that fails while it is told to."""

    is_broken = True

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        if self.is_broken:
            raise ConnectionError("no answer")
        return super().get_many(keys)

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        if self.is_broken:
            raise ConnectionError("no answer")
        super().set_many(items)


class Counts:
    """What TierCounts counts, by outcome."""

    def __init__(self) -> None:
        self._counts: dict[str, Count] = defaultdict(Count)
        self.tier = TierCounts(self._counts.__getitem__)

    @property
    def seen(self) -> dict[str, int]:
        return {name: count.n for name, count in self._counts.items() if count.n}


@pytest.fixture
def counts() -> Counts:
    return Counts()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # a tier's thread makes it true
            await asyncio.sleep(0.001)


@pytest.mark.asyncio
async def test_hits_and_misses_are_counted_by_row(counts: Counts) -> None:
    tier = Memory()
    tier.kept = {b"a": b"1", b"b": b"2"}
    cache = Tiered(tier, counts.tier)
    assert cache.get_many([b"a", b"x", b"b", b"a"]) == {b"a": b"1", b"b": b"2"}
    assert counts.seen == {"hit": 3, "miss": 1}
    await cache.close()


@pytest.mark.asyncio
async def test_own_writes_are_found_at_once(counts: Counts) -> None:
    tier = Memory()
    tier.may_write.clear()
    cache = Tiered(tier, counts.tier)
    cache.set(b"a", b"1")
    assert cache.get_many([b"a"]) == {b"a": b"1"}
    assert tier.kept == {}
    tier.may_write.set()
    await cache.close()


@pytest.mark.asyncio
async def test_values_are_written_behind(counts: Counts) -> None:
    tier = Memory()
    cache = Tiered(tier, counts.tier)
    for number in range(100):
        cache.set(b"%d" % number, b"x")
    await until(lambda: tier.writes)
    assert tier.writes == [100]
    assert cache.get_many([b"7"]) == {b"7": b"x"}
    await cache.close()


@pytest.mark.asyncio
async def test_values_live_as_long_as_the_store_says(counts: Counts) -> None:
    tier = Memory()
    cache = Tiered(tier, counts.tier, 1.5)
    cache.set(b"a", b"1")
    await cache.close()
    assert tier.seconds == {b"a": 1.5}


@pytest.mark.asyncio
async def test_values_set_during_a_write_are_written_next(counts: Counts) -> None:
    tier = Memory()
    tier.may_write.clear()
    cache = Tiered(tier, counts.tier)
    cache.set(b"a", b"1")
    await until(tier.is_writing.is_set)
    cache.set(b"b", b"2")
    assert cache.get_many([b"a", b"b"]) == {b"a": b"1", b"b": b"2"}
    tier.may_write.set()
    await cache.close()
    assert tier.writes == [1, 1]
    assert tier.kept == {b"a": b"1", b"b": b"2"}


@pytest.mark.asyncio
async def test_waiting_and_kept_values_are_found_together(counts: Counts) -> None:
    tier = Memory()
    tier.kept = {b"a": b"1"}
    cache = Tiered(tier, counts.tier)
    cache.set(b"b", b"2")
    assert cache.get_many([b"a", b"b", b"c"]) == {b"a": b"1", b"b": b"2"}
    assert counts.seen == {"hit": 2, "miss": 1}
    await cache.close()


@pytest.mark.asyncio
async def test_a_tier_that_cannot_be_read_is_a_miss(counts: Counts) -> None:
    cache = Tiered(Broken(), counts.tier)
    assert cache.get_many([b"a", b"b"]) == {}
    assert counts.seen == {"miss": 2, "failed": 1}
    await cache.close()


@pytest.mark.asyncio
async def test_own_writes_are_found_in_a_tier_that_cannot_be_read(
    counts: Counts,
) -> None:
    cache = Tiered(Broken(), counts.tier)
    cache.set(b"a", b"1")
    assert cache.get_many([b"a", b"b"]) == {b"a": b"1"}
    assert counts.seen == {"hit": 1, "miss": 1, "failed": 1}
    await cache.close()


@pytest.mark.asyncio
async def test_a_failed_write_is_counted_and_the_next_goes_on(counts: Counts) -> None:
    tier = Broken()
    cache = Tiered(tier, counts.tier)
    cache.set(b"a", b"1")
    await until(lambda: counts.seen == {"failed": 1})
    tier.is_broken = False
    cache.set(b"b", b"2")
    await until(lambda: tier.kept == {b"b": b"2"})
    assert cache.get_many([b"a", b"b"]) == {b"b": b"2"}
    await cache.close()


@pytest.mark.asyncio
async def test_a_full_queue_drops_its_oldest_values(
    counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiered, "_MAX_WAITING_BYTES", 10)
    tier = Memory()
    cache = Tiered(tier, counts.tier)
    for name in (b"a", b"b", b"c", b"d"):
        cache.set(name, b"1234")
    assert counts.seen == {"dropped": 2}
    assert cache.get_many([b"a", b"b", b"c", b"d"]).keys() == {b"c", b"d"}
    await cache.close()
    assert tier.kept.keys() == {b"c", b"d"}


@pytest.mark.asyncio
async def test_a_value_larger_than_the_queue_is_dropped(
    counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiered, "_MAX_WAITING_BYTES", 10)
    tier = Memory()
    cache = Tiered(tier, counts.tier)
    cache.set(b"a", b"x" * 11)
    cache.set(b"b", b"1234")
    await cache.close()
    assert tier.kept == {b"b": b"1234"}
    assert counts.seen == {"dropped": 1}


@pytest.mark.asyncio
async def test_a_long_queue_is_written_in_parts(
    counts: Counts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiered, "_BATCH_BYTES", 50)
    tier = Memory()
    cache = Tiered(tier, counts.tier)
    for number in range(100):
        cache.set(b"%02d" % number, b"12345678")
    await cache.close()
    assert len(tier.kept) == 100
    assert max(tier.writes) < 10


@pytest.mark.asyncio
async def test_closing_writes_what_waits(counts: Counts) -> None:
    tier = Memory()
    cache = Tiered(tier, counts.tier)
    cache.set(b"a", b"1")
    await cache.close()
    assert tier.kept == {b"a": b"1"}
    assert tier.is_closed


@pytest.mark.asyncio
async def test_answers_reach_shared_memory(counts: Counts, shared_folder: Path) -> None:
    create_store(shared_folder / "store", 1 << 20)
    cache = Tiered(SharedMemory(shared_folder / "store"), counts.tier)
    cache.set(b"k" * 16, b"1")
    await cache.close()
    store = SharedMemory(shared_folder / "store")
    assert store.get_many([b"k" * 16]) == {b"k" * 16: b"1"}
    store.close()
