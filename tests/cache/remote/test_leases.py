"""Leases on names in a shared tier."""

import asyncio

import pytest

from gomlx.cache.breaker import BreakerState
from tests.cache.remote.remotes import (
    NAMES,
    commands,
    is_digits,
    limits,
    opened,
    until,
)
from tests.support.redis_servers import Server
from tests.support.relay import Relay

pytestmark = pytest.mark.asyncio


async def test_one_of_many_acquires_a_lease(redis: Server) -> None:
    async with opened(redis.url) as near, opened(redis.url) as other:
        assert await near.remote.leases.acquire(NAMES[:2], 60) == [True, True]
        assert await other.remote.leases.acquire(NAMES[1:3], 60) == [False, True]
        near.remote.leases.release(NAMES[:2])
        async with asyncio.timeout(30):
            while await other.remote.leases.acquire(NAMES[:1], 60) != [True]:
                await asyncio.sleep(0.01)


async def test_a_lease_expires(redis: Server) -> None:
    async with opened(redis.url) as near, opened(redis.url) as other:
        assert await near.remote.leases.acquire(NAMES[:1], 0.1) == [True]
        async with asyncio.timeout(30):
            while await other.remote.leases.acquire(NAMES[:1], 60) != [True]:
                await asyncio.sleep(0.01)


async def test_many_who_wait_for_others_share_commands(redis: Server) -> None:
    """Otherwise a burst of cold rows would miss the deadline by its own weight."""
    async with opened(redis.url) as near:
        await near.get(NAMES[0])  # connected
        await until(lambda: clients(redis) == 1)  # those of earlier tests have closed
        before = commands(redis)
        acquiring = [near.remote.leases.acquire([name], 60) for name in NAMES]
        assert await asyncio.gather(*acquiring) == [[True]] * 100
        assert clients(redis) == 1
        polls = [near.remote.polls.get_many([name], is_digits) for name in NAMES]
        assert await asyncio.gather(*polls) == [{}] * 100
        assert commands(redis) - before == 100 + 1 + 2  # and this test's questions


def clients(redis: Server) -> int:
    return str(redis.execute("CLIENT", "LIST")).count("name=gomlx")


async def test_one_late_command_is_one_failure(relay: Relay) -> None:
    url = f"redis://127.0.0.1:{relay.port}/0"
    async with opened(url, limits(deadline=0.05)) as near:
        await near.remote.remaining_ttl([NAMES[0]])  # connected, whatever that took
        relay.holds = True
        acquiring = [near.remote.leases.acquire([name], 60) for name in NAMES]
        assert await asyncio.gather(*acquiring) == [None] * 100
        assert near.remote.health.state is BreakerState.CLOSED
