"""Leases of a fleet, over a real Redis server; test_coalesce.py has those of a host."""

import asyncio

import pytest

from gomlx.cache.leases import FleetLeases
from gomlx.cache.tiered import Tiered
from tests.cache.databases import KEYS, SPACE, TTL, remote, until
from tests.support.redis_servers import Server

pytestmark = pytest.mark.asyncio


async def test_a_lease_that_has_expired_is_not_released_for_its_next_holder(
    redis: Server,
) -> None:
    async with remote(redis) as one, remote(redis) as two:
        first = FleetLeases(one)
        second = FleetLeases(two)
        assert await first.acquire(KEYS[:1], 0.05) == KEYS[:1]
        async with asyncio.timeout(30):
            while not await second.acquire(KEYS[:1], 60):
                await asyncio.sleep(0.01)
        first.release(KEYS[:1])
        await asyncio.sleep(0)
        await one.remaining_ttl([b"x"])  # after any command of the release
        assert await first.acquire(KEYS[:1], 60) == []
        second.release(KEYS[:1])
        async with asyncio.timeout(30):
            while not await first.acquire(KEYS[:1], 60):
                await asyncio.sleep(0.01)


async def test_a_lease_is_released_when_the_answer_can_be_read(redis: Server) -> None:
    async with remote(redis) as one:
        tiers = Tiered(None, [one], TTL)
        leases = FleetLeases(one)
        assert await leases.acquire(KEYS[:2], 60) == KEYS[:2]
        tiers.set(SPACE, KEYS[0], b"1")
        await until(lambda: not redis.execute("EXISTS", lease(KEYS[0])))
        assert redis.execute("EXISTS", lease(KEYS[1]))
        assert await tiers.poll_nearest(SPACE, KEYS[:1])


def lease(key: bytes) -> str:
    return f"gomlx:1:lease:{key.hex()}"
