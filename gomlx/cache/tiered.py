"""Down the tiers for reading, off the request path for writing.

Values that were set are found at once by this process (they wait in `_waiting`) and
by the others as soon as the writer thread has handed them to the tier.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from time import perf_counter

from gomlx.cache.tier import Tier
from gomlx.metrics import Count, Spread

log = logging.getLogger(__name__)

# One write transaction costs as much as thirty entries: let some gather.
_GATHER_SECONDS = 0.005
_BATCH_BYTES = 1 << 20
_MAX_WAITING_BYTES = 64 << 20


class TierCounts:
    """What became of the look-ups and writes of one tier, row by row.

    counter: (metric, outcome) → count. A row looked up has one outcome.
    """

    def __init__(self, counter: Callable[[str, str], Count], seconds: Spread) -> None:
        self.hit, self.miss, self.lookup_failed = (
            counter("gomlx_cache_lookups", o) for o in ("hit", "miss", "failed")
        )
        self.written, self.dropped, self.failed = (
            counter("gomlx_cache_writes", o) for o in ("written", "dropped", "failed")
        )
        self.seconds = seconds


class Tiered:
    """The tiers of one datastore, nearest first. For one thread: the event loop's."""

    def __init__(self, tier: Tier, counts: TierCounts) -> None:
        self.name = tier.name
        self._tier, self._counts = tier, counts
        self._waiting: dict[bytes, bytes] = {}
        self._waiting_bytes = 0
        self._is_failing = False
        self._writer = ThreadPoolExecutor(1, "write-behind")
        self._idle = asyncio.Event()  # nothing waits, nothing is being written
        self._idle.set()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return what is known of keys; a tier that fails knows nothing."""
        waiting = self._waiting
        found = {key: waiting[key] for key in keys if key in waiting} if waiting else {}
        asked = [key for key in keys if key not in found] if found else keys
        failed = 0
        if asked:
            started = perf_counter()
            try:
                found |= self._tier.get_many(asked)
            except Exception as error:
                failed = len(asked)
                self._counts.lookup_failed.n += failed
                if not self._is_failing:  # said once is enough
                    log.error("%s: look-ups fail: %s", self._tier.name, error)
                self._is_failing = True
            else:
                self._is_failing = False
            self._counts.seconds.add(perf_counter() - started)
        hits = sum([key in found for key in keys])
        self._counts.hit.n += hits
        self._counts.miss.n += len(keys) - hits - failed
        return found

    def set(self, key: bytes, value: bytes) -> None:
        """Have a value written, soon. A full queue drops its oldest values."""
        if key in self._waiting:
            return  # a key has one answer
        self._waiting[key] = value
        self._waiting_bytes += len(value)
        while self._waiting_bytes > _MAX_WAITING_BYTES:
            self._forget(next(iter(self._waiting)))
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

    def _flush(self) -> None:
        batch, size = {}, 0
        for key, value in self._waiting.items():
            batch[key] = value
            size += len(key) + len(value)
            if size > _BATCH_BYTES:
                break
        loop = asyncio.get_running_loop()
        written = self._writer.submit(self._tier.set_many, batch)
        written.add_done_callback(
            lambda done: loop.call_soon_threadsafe(self._written, batch, done)
        )

    def _written(self, batch: dict[bytes, bytes], done: "Future[None]") -> None:
        if error := done.exception():
            self._counts.failed.n += len(batch)
            log.error("%s: %d answers not kept: %s", self._tier.name, len(batch), error)
        else:
            self._counts.written.n += len(batch)
        for key in batch.keys() & self._waiting.keys():
            self._forget(key)
        if not self._waiting:
            self._idle.set()
        else:
            asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._flush)

    def _forget(self, key: bytes) -> None:
        self._waiting_bytes -= len(self._waiting.pop(key))
