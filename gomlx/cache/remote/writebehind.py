"""Writes to a shared tier: a bounded queue that a task empties.

A tier that refuses writes (a replica, a full memory, a user who may only read) may well
answer look-ups, so writing has a circuit breaker of its own.
"""

import asyncio
import time
from collections.abc import Callable, Collection
from math import inf

from gomlx.cache.breaker import BreakerState
from gomlx.cache.queue import ByteBoundedQueue
from gomlx.cache.remote.counts import WriteCounts
from gomlx.cache.remote.health import TierHealth
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.tier import SharedTier
from gomlx.errors import TierFailed
from gomlx.runtime.randomness import RANDOM

# Of a time to live: values that were written together do not expire together.
_JITTER = 0.1
_BATCH_ENTRIES = 500
_BATCH_BYTES = 1 << 20


class WriteBehind:
    """Writes values to one shared tier a little after they are set.

    queue: name → value and milliseconds to live. For one thread: the event loop's.
    """

    def __init__(
        self,
        name: str,
        tier: SharedTier,
        limits: TierLimits,
        counts: WriteCounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = ByteBoundedQueue[int](limits.queue_bytes)
        self._tier = tier
        self._limits = limits
        self._counts = counts
        self._health = TierHealth(f"{name}: writes", clock=clock)
        self._writer: asyncio.Task[None] | None = None

    @property
    def problem(self) -> str:
        """Why values are dropped; empty while the circuit breaker is closed."""
        is_closed = self._health.state is BreakerState.CLOSED
        return "" if is_closed else self._health.problem

    def put(
        self, name: bytes, value: bytes, ttl_seconds: float, at_most: float = inf
    ) -> None:
        """Queue a value to be written, unless its name is queued: it has one value.

        ttl_seconds is bounded by the tier's and jittered. at_most is exact: a value may
        not live longer here than it does elsewhere.
        """
        limits = self._limits
        if limits.is_read_only:
            self.queue.discard((name,))
        elif len(value) > limits.max_value_bytes:
            self._drop((name,))
        elif name not in self.queue.entries:
            jitter = RANDOM.uniform(1 - _JITTER, 1 + _JITTER)
            ttl_seconds = min(ttl_seconds, limits.ttl_seconds) * jitter
            self._add(name, value, int(min(ttl_seconds, at_most) * 1000))

    async def close(self, timeout_seconds: float) -> None:
        """Write the queue, for at most timeout_seconds."""
        if self._writer and not self._writer.done():
            await asyncio.wait((self._writer,), timeout=timeout_seconds)
            self._writer.cancel()

    def _add(self, name: bytes, value: bytes, ttl_milliseconds: int) -> None:
        if ttl_milliseconds < 1 or not self._health.may_allow:
            self._drop((name,))
            return
        self._counts.dropped.n += len(self.queue.add(name, value, ttl_milliseconds))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.get_running_loop().create_task(self._write())

    def _drop(self, names: Collection[bytes]) -> None:
        self._counts.dropped.n += len(names)
        self.queue.discard(names)

    async def _write(self) -> None:
        await asyncio.sleep(0)  # the other values of this turn join
        while self.queue.entries:
            batch = self.queue.first(_BATCH_BYTES, _BATCH_ENTRIES)
            if not self._health.allows():
                self._drop(batch)
                continue
            try:
                await self._tier.set_many(batch)
            except TierFailed as error:
                self._health.failed(str(error))
                self._counts.failed.n += len(batch)
            else:
                self._health.succeeded()
                self._counts.written.n += len(batch)
            self.queue.discard(batch)
