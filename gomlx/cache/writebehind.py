"""What waits to be written to a shared tier: a bounded queue that a task empties.

That writes are refused (a replica, a full memory, a user who may only read) says
nothing about reading, so writing has a circuit breaker of its own.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from math import inf

from gomlx.cache.breaker import Breaker, BreakerState
from gomlx.cache.tier import SharedTier
from gomlx.errors import TierFailed
from gomlx.metrics.instruments import Counter
from gomlx.runtime.randomness import RANDOM

log = logging.getLogger(__name__)

_JITTER = 0.1  # of a time to live: what was written together does not expire together
_BATCH_ENTRIES, _BATCH_BYTES = 500, 1 << 20
_CLOSE_SECONDS = 2.0
_ENTRY_BYTES = 250  # what Python takes for a short one, besides name and value
Entry = tuple[bytes, int]  # value, milliseconds to live


class WriteCounts:
    """What became of writes. counter: (metric, outcome) → count."""

    def __init__(self, counter: Callable[[str, str], Counter]) -> None:
        self.written, self.dropped, self.failed = (
            counter("gomlx_cache_writes", o) for o in ("written", "dropped", "failed")
        )


class WriteBehind:
    """For one thread: the event loop's. A full queue drops its oldest values.

    when_gone is called with names that have left the queue, whatever became of them.
    problem: why writes are not tried, while they are not.
    """

    def __init__(
        self, name: str, tier: SharedTier, queue_bytes: int, counts: WriteCounts
    ) -> None:
        self.when_gone: Callable[[Collection[bytes]], None] = lambda _: None
        self._name, self._tier, self.problem = name, tier, ""
        self._most_bytes, self._counts = queue_bytes, counts
        self._breaker = Breaker()
        self._queue: dict[bytes, Entry] = {}
        self._bytes = 0
        self._writer: asyncio.Task[None] | None = None

    def waiting(self, names: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the values of those names that wait to be written."""
        queue = self._queue
        return {n: queue[n][0] for n in names if n in queue} if queue else {}

    def put(
        self, name: bytes, value: bytes, seconds: float, at_most: float = inf
    ) -> None:
        """Have a value written, soon, to be known for about so long."""
        if name in self._queue:
            return  # a name has one value
        jitter = RANDOM.uniform(1 - _JITTER, 1 + _JITTER)
        lifetime = int(min(seconds * jitter, at_most) * 1000)
        if lifetime < 1 or not self._breaker.may_allow:
            self.drop([name])
            return
        self._queue[name] = value, lifetime
        self._bytes += _size(name, value)
        while self._bytes > self._most_bytes:
            self.drop([next(iter(self._queue))])
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())

    def drop(self, names: Collection[bytes]) -> None:
        """Count values that are not written, and tell that they are gone."""
        self._counts.dropped.n += len(names)
        self._leave(names)

    async def close(self) -> None:
        """Write what waits, for as long as two seconds."""
        if self._writer and not self._writer.done():
            await asyncio.wait((self._writer,), timeout=_CLOSE_SECONDS)
            self._writer.cancel()

    async def _write(self) -> None:
        await asyncio.sleep(0)  # the turn's other values join
        while self._queue:
            batch = self._next_batch()
            if not self._breaker.allows():
                self.drop(batch)
                continue
            try:
                await self._tier.set_many(batch)
            except TierFailed as error:
                self._refused(batch, error)
            else:
                self._succeeded(batch)

    def _next_batch(self) -> dict[bytes, Entry]:
        batch: dict[bytes, Entry] = {}
        size = 0
        for name, entry in self._queue.items():
            batch[name] = entry
            size += len(entry[0])
            if len(batch) == _BATCH_ENTRIES or size > _BATCH_BYTES:
                break
        return batch

    def _succeeded(self, batch: Collection[bytes]) -> None:
        if self._breaker.state is not BreakerState.CLOSED:
            log.info("%s: writes work again", self._name)
            self.problem = ""
        self._breaker.succeeded()
        self._counts.written.n += len(batch)
        self._leave(batch)

    def _refused(self, batch: Collection[bytes], error: TierFailed) -> None:
        was = self._breaker.state
        self._breaker.failed()
        if self._breaker.state is BreakerState.OPEN:
            self.problem = str(error)
        if was is BreakerState.CLOSED and self._breaker.state is BreakerState.OPEN:
            log.warning("%s: writes fail: %s", self._name, error)
        self._counts.failed.n += len(batch)
        self._leave(batch)

    def _leave(self, names: Collection[bytes]) -> None:
        for name in names:
            if entry := self._queue.pop(name, None):
                self._bytes -= _size(name, entry[0])
        self.when_gone(names)


def _size(name: bytes, value: bytes) -> int:
    return _ENTRY_BYTES + len(name) + len(value)
