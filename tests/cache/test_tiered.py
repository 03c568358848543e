"""Tiers over a real Redis server: what is promoted."""

import asyncio

import pytest

from gomlx.cache.remote.tier import Remote
from gomlx.cache.remote.worth import Worth
from gomlx.cache.tiered import Tiered
from tests.cache.databases import KEYS, SPACE, TTL, remote
from tests.support.redis_servers import Server

pytestmark = pytest.mark.asyncio


async def promoted(near: Remote, names: list[bytes]) -> list[float]:
    async with asyncio.timeout(30):
        while not all(ttls := await near.remaining_ttl(names)):
            await asyncio.sleep(0.005)
    return ttls


async def test_a_promoted_answer_lives_no_longer_than_in_the_farther_tier(
    redis: Server,
) -> None:
    names = [SPACE.name(key) for key in KEYS]
    for name in names:
        redis.execute("SET", name.decode(), "1", "EX", "500")
    async with remote(redis, 1) as near, remote(redis, 0) as far:
        tiers = Tiered(None, [near, far], TTL)
        assert (await tiers.get_shared(SPACE, KEYS)).keys() == set(KEYS)
        ttls = await promoted(near, names)
        assert max(ttls) <= 500
        assert min(ttls) > 450


async def test_a_promoted_answer_lives_no_longer_than_the_nearer_tier_lets_it(
    redis: Server,
) -> None:
    names = [SPACE.name(key) for key in KEYS]
    for name in names:
        redis.execute("SET", name.decode(), "1")  # for ever
    async with remote(redis, 1) as near, remote(redis, 0) as far:
        tiers = Tiered(None, [near, far], TTL)
        await tiers.get_shared(SPACE, KEYS)
        ttls = await promoted(near, names)
        assert max(ttls) <= TTL * 1.1
        assert len({round(ttl) for ttl in ttls}) > 50


async def test_a_tier_that_a_model_does_without_is_neither_read_nor_written(
    redis: Server,
) -> None:
    names = [SPACE.name(key) for key in KEYS]
    async with remote(redis, 1) as near, remote(redis, 0) as far:
        near.worth = Worth(lambda run, _: run < 0.001)
        tiers = Tiered(None, [near, far], TTL)
        assert tiers.worthwhile("m", 0.002) is tiers
        fewer = tiers.worthwhile("m", 0.0005)
        assert fewer.remotes == (far,)
        for key in KEYS:
            fewer.set(SPACE, key, b"1")
        async with asyncio.timeout(30):
            while not all(await far.remaining_ttl(names)):
                await asyncio.sleep(0.005)
        assert (await fewer.get_shared(SPACE, KEYS)).keys() == set(KEYS)
        await asyncio.sleep(0.05)
        assert not any(await near.remaining_ttl(names))
        assert (await tiers.get_shared(SPACE, KEYS)).keys() == set(KEYS)
        await promoted(near, names)  # as for models that use it
