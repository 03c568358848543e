"""The nearest tier, in this host's memory: read in line, and written a little later.

Values that were set are found at once by this process (they wait in `_waiting`) and
by the others as soon as the tier has them. What takes a moment is written by the event
loop itself, a millisecond at a time; what has to wait for room, by a thread.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter

from gomlx.cache.tier import Tier
from gomlx.metrics.instruments import Counter, Histogram

log = logging.getLogger(__name__)

# One write transaction costs as much as thirty entries: let some gather.
_GATHER_SECONDS = 0.005
# PERF: a thread that writes all the time costs a miss a fifth more, since it and the
# event loop take the interpreter from each other (ARCHITECTURE.md).
_LOOP_SECONDS = 0.001
_BATCH_BYTES = 1 << 20
_ENTRY_BYTES = 250  # what Python takes for a short one, besides its answer


class LocalCounts:
    """What became of rows looked up and of writes. counter: (metric, outcome) → count.

    seconds: of look-ups.
    """

    def __init__(
        self, counter: Callable[[str, str], Counter], seconds: Histogram
    ) -> None:
        self.seconds = seconds
        self.hit, self.miss, self.lookup_failed = (
            counter("gomlx_cache_lookups", o) for o in ("hit", "miss", "failed")
        )
        self.written, self.dropped, self.failed = (
            counter("gomlx_cache_writes", o) for o in ("written", "dropped", "failed")
        )


class Local:
    """The L1 of one datastore, and what waits for it. For one thread: the loop's.

    queue_bytes bounds what waits to be written: beyond it the oldest is dropped.
    when_written is called with keys that have left the queue, whatever became of them.
    """

    def __init__(self, tier: Tier, counts: LocalCounts, queue_bytes: int) -> None:
        self.name = tier.name
        self.when_written: Callable[[Collection[bytes]], None] = _nothing
        self._tier, self._counts, self._queue_bytes = tier, counts, queue_bytes
        self._waiting: dict[bytes, tuple[bytes, float]] = {}
        self._waiting_bytes = 0
        self._is_failing = False
        self._writer = ThreadPoolExecutor(1, "write-behind")
        self._idle = asyncio.Event()  # nothing waits, nothing is being written
        self._idle.set()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what is known of keys; a tier that fails knows nothing."""
        started = perf_counter()
        found = self.peek(keys) if self._waiting else self._ask(keys)
        counts, rows = self._counts, len(keys)
        counts.seconds.add(perf_counter() - started)
        if len(found) == rows:
            counts.hit.n += rows
            return found
        hits = sum(key in found for key in keys)
        counts.hit.n += hits
        other = counts.lookup_failed if self._is_failing else counts.miss
        other.n += rows - hits
        return found

    def peek(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Do the same, uncounted."""
        waiting = self._waiting
        if not waiting:
            return self._ask(keys)
        found = {key: waiting[key][0] for key in keys if key in waiting}
        rest = [key for key in keys if key not in found]
        return found | self._ask(rest) if rest else found

    def set(self, key: bytes, value: bytes, seconds: float) -> None:
        """Have a value written, soon, to be known for so long."""
        if key in self._waiting:
            return  # a key has one answer
        self._waiting[key] = value, seconds
        self._waiting_bytes += _ENTRY_BYTES + len(value)
        while self._waiting_bytes > self._queue_bytes:
            oldest = next(iter(self._waiting))
            self._forget((oldest,))
            self._counts.dropped.n += 1
        if self._idle.is_set():
            self._idle.clear()
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._flush)

    def tick(self) -> None:
        """Once a second: let the tier write what it has held back for a write."""
        if self._idle.is_set():
            self._idle.clear()
            self._flush()

    async def close(self, timeout_seconds: float = 2) -> None:
        """Write what waits, then let go of the tier."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        self._writer.shutdown(wait=self._idle.is_set())
        if self._idle.is_set():  # else the writer is still in there
            self._tier.close()

    def _ask(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        try:
            found = self._tier.get_many(keys)
        except Exception as error:
            if not self._is_failing:  # said once is enough
                log.error("%s: look-ups fail: %s", self.name, error)
            self._is_failing = True
            return {}
        self._is_failing = False
        return found

    def _flush(self) -> None:
        """Write what takes a moment; have the thread write what does not."""
        waiting, until = self._waiting, perf_counter() + _LOOP_SECONDS
        while True:
            try:
                keys = self._tier.set_some(waiting)
            except Exception as error:
                log.debug("%s: not written at once: %s", self.name, error)
                keys = None  # the thread will say what is wrong
            if keys is None:
                self._write_in_thread()
                return
            self._counts.written.n += len(keys)
            self._forget(keys)
            if not keys or not waiting:
                self._go_on(_GATHER_SECONDS)
                return
            if perf_counter() > until:
                self._go_on(_LOOP_SECONDS)
                return

    def _go_on(self, seconds: float) -> None:
        if self._waiting:
            asyncio.get_running_loop().call_later(seconds, self._flush)
        else:
            self._idle.set()

    def _write_in_thread(self) -> None:
        batch: dict[bytes, tuple[bytes, float]] = {}
        size = 0
        for key, entry in self._waiting.items():
            batch[key] = entry
            size += len(key) + len(entry[0])
            if size > _BATCH_BYTES:
                break
        loop = asyncio.get_running_loop()
        written = self._writer.submit(self._tier.set_many, batch)
        written.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._written, batch, done)
        )

    def _written(
        self, batch: dict[bytes, tuple[bytes, float]], done: "Future[None]"
    ) -> None:
        if error := done.exception():
            self._counts.failed.n += len(batch)
            log.error("%s: %d answers not kept: %s", self.name, len(batch), error)
        else:
            self._counts.written.n += len(batch)
        self._forget(batch.keys() & self._waiting.keys())
        self._go_on(_GATHER_SECONDS)

    def _forget(self, keys: Collection[bytes]) -> None:
        """Values have left the queue."""
        waiting = self._waiting
        for key in keys:
            self._waiting_bytes -= _ENTRY_BYTES + len(waiting.pop(key)[0])
        self.when_written(keys)


def _nothing(_: Collection[bytes]) -> None:
    """Nobody waits to be told."""
