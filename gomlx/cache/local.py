"""The nearest tier, in this host's memory: read in line, written a little later.

Values that were set are found at once by this process (they are in `queue`), and by the
others as soon as the tier has them. Short writes run on the event loop, a millisecond
at a time; large values are written by a thread.

    idle ──(set, tick)──► flushing ──(the queue is empty)──► idle
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter

from gomlx.cache.queue import ByteBoundedQueue
from gomlx.cache.tier import Tier
from gomlx.errors import StoreUnavailable
from gomlx.metrics.instruments import Counter, Gauge, Histogram

log = logging.getLogger(__name__)

# A write of one entry costs three times as much as one of many: let some gather.
_GATHER_SECONDS = 0.005
# PERF: a thread that writes all the time costs a miss a fifth more, since it and the
# event loop take the interpreter from each other (docs/internals/measurements.md).
_LOOP_SECONDS = 0.001
_BATCH_BYTES = 1 << 20
_FAILING = 2.0  # as an open circuit breaker of a shared tier


class LocalCounts:
    """Outcomes of look-ups, by row, and of writes; seconds: how long look-ups take.

    counter: (metric, outcome) → counter. damaged: the rows that the tier has found
    damaged, until they are counted as bad. state: 2 while the tier fails, else 0.
    """

    def __init__(
        self,
        counter: Callable[[str, str], Counter],
        seconds: Histogram,
        state: Gauge | None = None,
    ) -> None:
        self.seconds = seconds
        self.state = Gauge() if state is None else state
        self.damaged = Counter()
        self.bad = counter("gomlx_cache_lookups", "bad")
        self.hit = counter("gomlx_cache_lookups", "hit")
        self.miss = counter("gomlx_cache_lookups", "miss")
        self.lookup_failed = counter("gomlx_cache_lookups", "failed")
        self.written = counter("gomlx_cache_writes", "written")
        self.dropped = counter("gomlx_cache_writes", "dropped")
        self.failed = counter("gomlx_cache_writes", "failed")


class Local:
    """The L1 of one datastore, and its queue. For one thread: the event loop's.

    queue_bytes bounds the entries that wait to be written, batch_bytes those that the
    thread writes at once.
    """

    def __init__(
        self,
        tier: Tier,
        counts: LocalCounts,
        queue_bytes: int,
        batch_bytes: int = _BATCH_BYTES,
    ) -> None:
        self.name = tier.name
        self.queue = ByteBoundedQueue[float](queue_bytes, counts_keys=False)
        self._tier = tier
        self._counts = counts
        self._queued = self.queue.entries  # PERF: one attribute less for each look-up
        self._batch_bytes = batch_bytes
        self._is_failing = False
        self._is_flushing = False  # or about to
        self._flushed = asyncio.Event()
        self._writer = ThreadPoolExecutor(1, "write-behind")

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are cached; none if the tier fails."""
        started = perf_counter()
        found = self.peek(keys)
        counts = self._counts
        rows = len(keys)
        hits = len(found)
        counts.seconds.add(perf_counter() - started)
        if hits < rows:
            if hits:  # keys may recur
                hits = sum(key in found for key in keys)
            other = counts.lookup_failed if self._is_failing else counts.miss
            other.n += rows - hits
            if counts.damaged.n:
                self._count_bad(rows - hits)
        counts.hit.n += hits
        return found

    def peek(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what `get_many` returns, without counting the look-up."""
        queued = self._queued
        if queued and not queued.keys().isdisjoint(keys):
            found = self.queue.find(keys)
            rest = [key for key in keys if key not in found]
            return found | self.peek(rest) if rest else found
        try:
            found = self._tier.get_many(keys)
        except Exception as error:
            self._fail(error)
            return {}
        if self._is_failing:
            self._recover()
        return found

    def set(self, key: bytes, value: bytes, ttl_seconds: float) -> None:
        """Queue a value to be written, unless its key is queued: it has one answer."""
        dropped = self.queue.add(key, value, ttl_seconds)
        if dropped:
            self._counts.dropped.n += len(dropped)
        if not self._is_flushing:
            self._is_flushing = True
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._flush)

    def tick(self) -> None:
        """Once a second: let the tier write what it keeps back until a write."""
        if not self._is_flushing:
            self._is_flushing = True
            self._flush()

    async def close(self, timeout_seconds: float = 2) -> None:
        """Write the queue, for at most timeout_seconds, and close the tier."""
        if self._is_flushing:
            self._flushed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout_seconds):
                    await self._flushed.wait()
        self._writer.shutdown(wait=not self._is_flushing)
        if not self._is_flushing:  # else the thread still uses the tier
            self._tier.close()

    def _count_bad(self, missed: int) -> None:
        """Count rows as bad that were counted as missed and are damaged."""
        counts = self._counts
        bad = min(counts.damaged.n, missed)
        counts.damaged.n = 0
        counts.miss.n -= bad
        counts.bad.n += bad

    def _fail(self, error: Exception) -> None:
        if not self._is_failing:  # logged once, until it works again
            log.error("%s: answers are neither found nor kept: %s", self.name, error)
        self._is_failing = True
        self._counts.state.value = _FAILING

    def _recover(self) -> None:
        log.warning("%s: answers are found and kept again", self.name)
        self._is_failing = False
        self._counts.state.value = 0.0

    def _flush(self) -> None:
        """Write for a moment; leave what takes longer to the thread."""
        queued = self._queued
        deadline = perf_counter() + _LOOP_SECONDS
        while True:
            try:
                keys = self._tier.set_some(queued)
            except StoreUnavailable as error:
                self._fail(error)
                self._counts.failed.n += len(queued)
                self.queue.discard(list(queued))
                self._continue_after(_GATHER_SECONDS)
                return
            except Exception as error:
                log.debug("%s: not written at once: %s", self.name, error)
                keys = None  # the thread's try logs the error
            if keys is None:
                self._write_in_thread()
                return
            if self._is_failing:
                self._recover()
            self._counts.written.n += len(keys)
            self.queue.discard(keys)
            if not keys or not queued:
                self._continue_after(_GATHER_SECONDS)
                return
            if perf_counter() > deadline:
                self._continue_after(_LOOP_SECONDS)
                return

    def _continue_after(self, seconds: float) -> None:
        if self._queued:
            asyncio.get_running_loop().call_later(seconds, self._flush)
        else:
            self._is_flushing = False
            self._flushed.set()

    def _write_in_thread(self) -> None:
        batch = self.queue.first(self._batch_bytes)
        loop = asyncio.get_running_loop()
        written = self._writer.submit(self._tier.set_many, batch)
        written.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._end_batch, batch.keys(), done)
        )

    def _end_batch(self, keys: Collection[bytes], done: "Future[None]") -> None:
        if error := done.exception():
            self._counts.failed.n += len(keys)
            log.error("%s: %d answers not written: %s", self.name, len(keys), error)
        else:
            self._counts.written.n += len(keys)
        # Listeners were notified of those that a full queue has dropped meanwhile.
        self.queue.discard([key for key in keys if key in self._queued])
        self._continue_after(_GATHER_SECONDS)
