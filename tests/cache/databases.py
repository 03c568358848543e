"""Shared tiers in the databases of one real Redis server."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.tier import Remote
from gomlx.contract.answer import SharedAnswers
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from tests.support.redis_servers import Server

SPACE = SharedAnswers("m", "0" * 32, ())
KEYS = [b"%016x" % n for n in range(200)]
TTL = 1000.0


@asynccontextmanager
async def remote(redis: Server, database: int = 0) -> AsyncIterator[Remote]:
    """A shared tier whose commands go out one after another."""
    tier = RedisTier(
        RedisOptions(
            f"redis://127.0.0.1:{redis.port}/{database}",
            timeout_seconds=10,
            max_connections=1,
        )
    )
    counts = RemoteCounts(lambda *_: Counter(), Histogram(SECONDS), Gauge())
    limits = TierLimits(10, TTL, 1000, 1 << 20, False)
    opened = Remote(f"r{database}", tier, limits, counts)
    try:
        yield opened
    finally:
        await opened.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)
