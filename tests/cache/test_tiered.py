"""Tiers over real Redis servers: what is promoted, and leases for a fleet."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest

from gomlx.cache.coalesce import FleetLeases
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote import Remote, RemoteCounts, TierLimits
from gomlx.cache.tiered import Tiered
from gomlx.contract.answer import SharedAnswers
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from tests.support.redis_servers import Server, server

pytestmark = pytest.mark.asyncio
SPACE = SharedAnswers("m", "0" * 32, ())
KEYS = [b"%016x" % n for n in range(200)]
TTL = 1000.0


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def redis(running: Server) -> Server:
    running.ask("FLUSHALL")
    return running


@asynccontextmanager
async def remote(redis: Server, database: int = 0) -> AsyncIterator[Remote]:
    tier = RedisTier(
        f"redis://127.0.0.1:{redis.port}/{database}",
        username=None,
        password=None,
        ca_file=None,
        cert_file=None,
        key_file=None,
        timeout_seconds=10,
        max_connections=1,  # commands go out one after another
    )
    counts = RemoteCounts(lambda *_: Counter(), Histogram(SECONDS), Gauge())
    opened = Remote(
        f"r{database}", tier, TierLimits(10, TTL, 1000, 1 << 20, False), counts
    )
    try:
        yield opened
    finally:
        await opened.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def promoted(near: Remote, names: list[bytes]) -> list[float]:
    async with asyncio.timeout(30):
        while not all(lefts := await near.remaining_ttl(names)):
            await asyncio.sleep(0.005)
    return lefts


async def test_what_is_promoted_lives_no_longer_than_it_has_left(redis: Server) -> None:
    names = [SPACE.name(key) for key in KEYS]
    for name in names:
        redis.ask("SET", name.decode(), "1", "EX", "500")
    async with remote(redis, 1) as near, remote(redis, 0) as far:
        tiers = Tiered(None, [near, far], TTL)
        assert (await tiers.look_further(SPACE, KEYS)).keys() == set(KEYS)
        lefts = await promoted(near, names)
        assert max(lefts) <= 500
        assert min(lefts) > 450


async def test_what_is_promoted_lives_no_longer_than_the_nearer_tier_lets_it(
    redis: Server,
) -> None:
    names = [SPACE.name(key) for key in KEYS]
    for name in names:
        redis.ask("SET", name.decode(), "1")  # for ever
    async with remote(redis, 1) as near, remote(redis, 0) as far:
        tiers = Tiered(None, [near, far], TTL)
        await tiers.look_further(SPACE, KEYS)
        lefts = await promoted(near, names)
        assert max(lefts) <= TTL * 1.1
        assert len({round(left) for left in lefts}) > 50


async def test_a_lease_that_has_ended_is_not_taken_from_its_next_holder(
    redis: Server,
) -> None:
    async with remote(redis) as one, remote(redis) as two:
        slow, next_one = FleetLeases(one), FleetLeases(two)
        assert await slow.take(KEYS[:1], 0.05) == KEYS[:1]
        async with asyncio.timeout(30):
            while not await next_one.take(KEYS[:1], 60):
                await asyncio.sleep(0.01)
        slow.release(KEYS[:1])
        await asyncio.sleep(0)
        await one.remaining_ttl([b"x"])  # after whatever the release has sent
        assert await slow.take(KEYS[:1], 60) == []
        next_one.release(KEYS[:1])
        async with asyncio.timeout(30):
            while not await slow.take(KEYS[:1], 60):
                await asyncio.sleep(0.01)


async def test_a_lease_is_given_back_when_the_answer_can_be_read(redis: Server) -> None:
    async with remote(redis) as one:
        tiers, leases = Tiered(None, [one], TTL), FleetLeases(one)
        assert await leases.take(KEYS[:2], 60) == KEYS[:2]
        tiers.set(SPACE, KEYS[0], b"1")
        await until(lambda: not redis.ask("EXISTS", lease(KEYS[0])))
        assert redis.ask("EXISTS", lease(KEYS[1]))
        assert await tiers.peek_nearest(SPACE, KEYS[:1])


def lease(key: bytes) -> str:
    return f"gomlx:1:lease:{key.hex()}"
