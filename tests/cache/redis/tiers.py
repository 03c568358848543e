"""Tiers over real servers, and names to use in them."""

import asyncio
import random
from typing import Any

from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.tier import RedisTier
from gomlx.errors import TierFailed


def tier(url: str, **options: Any) -> RedisTier:
    patient: dict[str, Any] = {"timeout_seconds": 30.0, "max_connections": 4}
    return RedisTier(RedisOptions(url, **patient | options))


def names(count: int) -> list[bytes]:
    """Names that no test used before; enough of them meet every node of a cluster."""
    salt = random.randbytes(6).hex()
    return [f"gomlx:1:test:{salt}:{i}".encode() for i in range(count)]


async def succeeds(run: Any, seconds: float = 60) -> Any:
    """Repeat an operation until it succeeds; every failure must be a TierFailed."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return await run()
            except TierFailed:
                await asyncio.sleep(0.05)
