"""Reading from a tier in this host's memory, and writing behind."""

import asyncio
import threading
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.shared_memory.lock import WriterLock
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Histogram
from tests.cache.entries import key as key_of

QUEUE = 1 << 20
PATIENCE = 30.0  # seconds until the queue is written


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

    def set_some(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Leave all to the thread."""

    def close(self) -> None:
        self.is_closed = True


class Broken(Memory):
    """A tier that fails until it is mended."""

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
    """What LocalCounts counts, by outcome."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str], Counter] = defaultdict(Counter)
        self.seconds = Histogram(SECONDS)
        self.tier = LocalCounts(lambda *key: self._counts[key], self.seconds)

    @property
    def lookups(self) -> dict[str, int]:
        return self._outcomes("gomlx_cache_lookups")

    @property
    def writes(self) -> dict[str, int]:
        return self._outcomes("gomlx_cache_writes")

    def _outcomes(self, metric: str) -> dict[str, int]:
        counts = {o: count.n for (m, o), count in self._counts.items() if m == metric}
        return {outcome: n for outcome, n in counts.items() if n}


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
    cache = Local(tier, counts.tier, QUEUE)
    assert cache.get_many([b"a", b"x", b"b", b"a"]) == {b"a": b"1", b"b": b"2"}
    assert counts.lookups == {"hit": 3, "miss": 1}
    assert sum(counts.seconds.counts) == 1  # one look-up for all rows
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_damaged_rows_are_counted_as_bad(counts: Counts) -> None:
    tier = Memory()
    tier.kept = {b"a": b"1"}
    cache = Local(tier, counts.tier, QUEUE)
    counts.tier.damaged.n = 1  # as the tier counts them during a look-up
    cache.get_many([b"a", b"x", b"y"])
    cache.get_many([b"x"])
    assert counts.lookups == {"hit": 1, "bad": 1, "miss": 2}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_without_a_store_answers_are_computed_until_there_is_one(
    counts: Counts, shared_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = shared_folder / "store"
    cache = Local(SharedMemory(directory), counts.tier, QUEUE)
    for _ in range(3):
        assert cache.get_many([key_of(1)]) == {}
        cache.set(key_of(1), b"1", 60)
        assert cache.get_many([key_of(1)]) == {key_of(1): b"1"}  # until it is dropped
        await until(lambda: not cache.queue.entries)
    cache.tick()
    assert counts.lookups == {"failed": 3, "hit": 3}
    assert counts.writes == {"failed": 3}
    assert counts.tier.state.value == 2
    (record,) = (r for r in caplog.records if r.levelname == "ERROR")
    assert str(directory) in record.message
    create_store(directory, 1 << 20)
    async with asyncio.timeout(30):
        while counts.tier.state.value:
            await asyncio.sleep(0.05)
            cache.tick()
    cache.set(key_of(1), b"1", 60)
    await until(lambda: counts.writes.get("written"))
    assert cache.get_many([key_of(1)]) == {key_of(1): b"1"}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_own_writes_are_found_at_once(counts: Counts) -> None:
    tier = Memory()
    tier.may_write.clear()
    cache = Local(tier, counts.tier, QUEUE)
    cache.set(b"a", b"1", 1.5)
    assert cache.get_many([b"a"]) == {b"a": b"1"}
    assert tier.kept == {}
    tier.may_write.set()
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_values_are_written_behind(counts: Counts) -> None:
    tier = Memory()
    cache = Local(tier, counts.tier, QUEUE)
    for number in range(100):
        cache.set(b"%d" % number, b"x", 1.5)
    await until(lambda: tier.writes)
    assert tier.writes == [100]
    assert cache.get_many([b"7"]) == {b"7": b"x"}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_values_get_the_time_to_live_that_they_are_set_with(
    counts: Counts,
) -> None:
    tier = Memory()
    cache = Local(tier, counts.tier, QUEUE)
    cache.set(b"a", b"1", 1.5)
    await cache.close(PATIENCE)
    assert tier.seconds == {b"a": 1.5}


@pytest.mark.asyncio
async def test_values_set_during_a_write_are_written_next(counts: Counts) -> None:
    tier = Memory()
    tier.may_write.clear()
    cache = Local(tier, counts.tier, QUEUE)
    cache.set(b"a", b"1", 1.5)
    await until(tier.is_writing.is_set)
    cache.set(b"b", b"2", 1.5)
    assert cache.get_many([b"a", b"b"]) == {b"a": b"1", b"b": b"2"}
    tier.may_write.set()
    await cache.close(PATIENCE)
    assert tier.writes == [1, 1]
    assert tier.kept == {b"a": b"1", b"b": b"2"}


@pytest.mark.asyncio
async def test_waiting_and_kept_values_are_found_together(counts: Counts) -> None:
    tier = Memory()
    tier.kept = {b"a": b"1"}
    cache = Local(tier, counts.tier, QUEUE)
    cache.set(b"b", b"2", 1.5)
    assert cache.get_many([b"a", b"b", b"c"]) == {b"a": b"1", b"b": b"2"}
    assert counts.lookups == {"hit": 2, "miss": 1}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_a_tier_that_cannot_be_read_is_a_miss(counts: Counts) -> None:
    cache = Local(Broken(), counts.tier, QUEUE)
    assert cache.get_many([b"a", b"b"]) == {}
    assert counts.lookups == {"failed": 2}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_own_writes_are_found_in_a_tier_that_cannot_be_read(
    counts: Counts,
) -> None:
    cache = Local(Broken(), counts.tier, QUEUE)
    cache.set(b"a", b"1", 1.5)
    assert cache.get_many([b"a", b"b"]) == {b"a": b"1"}
    assert counts.lookups == {"hit": 1, "failed": 1}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_a_failed_write_is_counted_and_the_next_goes_on(counts: Counts) -> None:
    tier = Broken()
    cache = Local(tier, counts.tier, QUEUE)
    cache.set(b"a", b"1", 1.5)
    await until(lambda: counts.writes == {"failed": 1})
    tier.is_broken = False
    cache.set(b"b", b"2", 1.5)
    await until(lambda: tier.kept == {b"b": b"2"})
    assert cache.get_many([b"a", b"b"]) == {b"b": b"2"}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_a_full_queue_drops_its_oldest_values(
    counts: Counts,
) -> None:
    tier = Memory()
    cache = Local(tier, counts.tier, 2 * (250 + 4))
    for name in (b"a", b"b", b"c", b"d"):
        cache.set(name, b"1234", 1.5)
    assert counts.writes == {"dropped": 2}
    assert cache.get_many([b"a", b"b", b"c", b"d"]).keys() == {b"c", b"d"}
    await cache.close(PATIENCE)
    assert tier.kept.keys() == {b"c", b"d"}


@pytest.mark.asyncio
async def test_a_value_larger_than_the_queue_is_dropped(
    counts: Counts,
) -> None:
    tier = Memory()
    cache = Local(tier, counts.tier, 250 + 10)
    cache.set(b"a", b"x" * 11, 1.5)
    cache.set(b"b", b"1234", 1.5)
    await cache.close(PATIENCE)
    assert tier.kept == {b"b": b"1234"}
    assert counts.writes == {"dropped": 1, "written": 1}


@pytest.mark.asyncio
async def test_a_long_queue_is_written_in_parts(counts: Counts) -> None:
    tier = Memory()
    cache = Local(tier, counts.tier, QUEUE, batch_bytes=50)
    for number in range(100):
        cache.set(b"%02d" % number, b"12345678", 1.5)
    await cache.close(PATIENCE)
    assert len(tier.kept) == 100
    assert max(tier.writes) < 10


@pytest.mark.asyncio
async def test_listeners_learn_of_keys_that_are_written_or_dropped(
    counts: Counts,
) -> None:
    tier = Memory()
    cache = Local(tier, counts.tier, 2 * (250 + 4))
    removed: list[bytes] = []
    cache.queue.on_removed(removed.extend)
    for name in (b"a", b"b", b"c"):
        cache.set(name, b"1234", 1.5)
    assert removed == [b"a"]
    await cache.close(PATIENCE)
    assert removed == [b"a", b"b", b"c"]


@pytest.mark.asyncio
async def test_a_key_that_is_dropped_while_it_is_written_is_reported_once(
    counts: Counts,
) -> None:
    tier = Memory()
    tier.may_write.clear()
    cache = Local(tier, counts.tier, 250 + 4)
    removed: list[bytes] = []
    cache.queue.on_removed(removed.extend)
    cache.set(b"a", b"1234", 1.5)
    await until(tier.is_writing.is_set)
    cache.set(b"b", b"1234", 1.5)
    assert removed == [b"a"]
    tier.may_write.set()
    await cache.close(PATIENCE)
    assert removed == [b"a", b"b"]


@pytest.mark.asyncio
async def test_peeking_is_not_counted(counts: Counts) -> None:
    tier = Memory()
    tier.kept = {b"a": b"1"}
    cache = Local(tier, counts.tier, QUEUE)
    cache.set(b"b", b"2", 1.5)
    assert cache.peek([b"a", b"b", b"c"]) == {b"a": b"1", b"b": b"2"}
    assert counts.lookups == {}
    await cache.close(PATIENCE)


@pytest.mark.asyncio
async def test_closing_writes_the_queue(counts: Counts) -> None:
    tier = Memory()
    cache = Local(tier, counts.tier, QUEUE)
    cache.set(b"a", b"1", 1.5)
    await cache.close(PATIENCE)
    assert tier.kept == {b"a": b"1"}
    assert tier.is_closed


@pytest.mark.asyncio
async def test_answers_reach_shared_memory(counts: Counts, shared_folder: Path) -> None:
    create_store(shared_folder / "store", 1 << 20)
    cache = Local(SharedMemory(shared_folder / "store"), counts.tier, QUEUE)
    cache.set(b"k" * 16, b"1", 1.5)
    await cache.close(PATIENCE)
    store = SharedMemory(shared_folder / "store")
    assert store.get_many([b"k" * 16]) == {b"k" * 16: b"1"}
    store.close()


def over_shared_memory(
    counts: Counts, directory: Path, megabytes: int
) -> tuple[Local, SharedMemory]:
    create_store(directory, megabytes << 20)
    store = SharedMemory(directory)
    return Local(store, counts.tier, 64 << 20), store


@pytest.mark.asyncio
async def test_the_event_loop_does_not_wait_for_another_writer(
    counts: Counts, shared_folder: Path
) -> None:
    """Another process writes, and may stand still."""
    cache, store = over_shared_memory(counts, shared_folder / "store", 1)
    other = WriterLock(shared_folder / "store")
    other.acquire()
    cache.set(b"k" * 16, b"1", 60)
    assert store.set_some({b"l" * 16: (b"2", 60.0)}) == ()
    await asyncio.sleep(0.05)  # it has been tried by now; if not, no harm is done
    assert cache.get_many([b"k" * 16]) == {b"k" * 16: b"1"}
    assert store.get_many([b"k" * 16]) == {}
    other.release()
    await until(lambda: counts.writes == {"written": 1})
    assert store.get_many([b"k" * 16]) == {b"k" * 16: b"1"}
    other.close()
    await cache.close()


@pytest.mark.asyncio
async def test_large_and_small_values_are_written(
    counts: Counts, shared_folder: Path
) -> None:
    """The thread writes the large ones, since they take more than a moment."""
    cache, store = over_shared_memory(counts, shared_folder / "store", 8)
    sizes = [10, 2_000, 1_000_000, 5, 700_000, 100]
    values = {key_of(n): b"x" * size for n, size in enumerate(sizes)}
    for key, value in values.items():
        cache.set(key, value, 60)
    await until(lambda: counts.writes == {"written": len(sizes)})
    assert store.get_many(list(values)) == values
    await cache.close()


@pytest.mark.asyncio
async def test_a_burst_is_written_by_the_time_that_it_is_closed(
    counts: Counts, shared_folder: Path
) -> None:
    cache, _ = over_shared_memory(counts, shared_folder / "store", 16)
    for n in range(20_000):
        cache.set(key_of(n), b"y", 60)
    await cache.close(60)
    assert counts.writes == {"written": 20_000}
