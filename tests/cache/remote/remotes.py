"""Shared tiers over real Redis servers, and what they count."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.tier import Remote
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from tests.cache.clock import Clock
from tests.support.redis_servers import Server

NAMES = [b"gomlx:1:m:v:%032x" % n for n in range(100)]
PATIENCE = 30.0  # seconds, for what should not be bounded by time here


class Counted:
    """A remote, and what it counted."""

    def __init__(
        self, remote: Remote, counts: dict[str, Counter], state: Gauge
    ) -> None:
        self.remote = remote
        self.state = state
        self._counts = counts

    @property
    def counts(self) -> dict[str, int]:
        return {name: count.n for name, count in self._counts.items() if count.n}

    async def get(self, *names: bytes) -> dict[bytes, bytes]:
        found = await self.remote.lookups.get_many(names, is_digits)
        return {name: found[name] for name in names if name in found}

    def put(self, name: bytes, value: bytes, ttl_seconds: float = 10.0) -> None:
        self.remote.writes.put(name, value, ttl_seconds)


def is_digits(value: bytes) -> bool:
    return value.isdigit()


def limits(
    deadline: float = PATIENCE, queue: int = 1 << 20, read_only: bool = False
) -> TierLimits:
    return TierLimits(
        deadline_seconds=deadline,
        ttl_seconds=100.0,
        max_value_bytes=1000,
        queue_bytes=queue,
        is_read_only=read_only,
    )


@asynccontextmanager
async def opened(
    url: str,
    its: TierLimits | None = None,
    timeout_seconds: float = PATIENCE,
    clock: Clock | None = None,
) -> AsyncIterator[Counted]:
    tier = RedisTier(RedisOptions(url, timeout_seconds=timeout_seconds))
    counts: dict[str, Counter] = defaultdict(Counter)
    state = Gauge()

    def counter(metric: str, outcome: str) -> Counter:
        return counts[outcome if "lookups" in metric else f"write {outcome}"]

    remote_counts = RemoteCounts(counter, Histogram(SECONDS), state)
    remote = Remote(
        "near", tier, its or limits(), remote_counts, clock=clock or time.monotonic
    )
    try:
        yield Counted(remote, counts, state)
    finally:
        await remote.close(PATIENCE)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def until_found(get: Callable[[], Awaitable[object]]) -> None:
    """Repeat until there is something: one reply may be late, on a busy machine."""
    async with asyncio.timeout(30):
        while not await get():
            await asyncio.sleep(0.005)


def commands(redis: Server) -> int:
    """Return how many commands a server has processed, before this question."""
    stats = redis.execute("INFO", "stats")
    return int(stats.split("total_commands_processed:")[1].split()[0])
