"""Writes to a shared tier, from a bounded queue."""

import asyncio
from itertools import cycle

import pytest

from gomlx.cache.breaker import BreakerState
from tests.cache.remote.remotes import NAMES, limits, opened, until
from tests.support.redis_servers import Server

pytestmark = pytest.mark.asyncio


async def test_a_written_value_is_found_and_expires(redis: Server) -> None:
    async with opened(redis.url) as near:
        for name in NAMES:
            near.put(name, b"7", 80.0)
        assert await near.get(NAMES[3]) == {NAMES[3]: b"7"}  # from the queue
        await until(lambda: near.counts.get("write written") == 100)
        ttls = await near.remote.remaining_ttl(NAMES)
        assert all(40.0 < ttl <= 88.0 for ttl in ttls)
        assert len(set(ttls)) > 50  # values written together expire apart


async def test_no_value_lives_longer_than_the_tier_lets_it(redis: Server) -> None:
    async with opened(redis.url) as near:
        near.put(NAMES[0], b"7", 1e6)
        await until(lambda: near.counts.get("write written"))
        assert (await near.remote.remaining_ttl(NAMES[:1]))[0] <= 110


async def test_no_value_lives_longer_than_where_it_comes_from(redis: Server) -> None:
    async with opened(redis.url) as near:
        for name in NAMES:
            near.remote.writes.put(name, b"7", 80.0, at_most=50.0)
        await until(lambda: near.counts.get("write written") == 100)
        assert max(await near.remote.remaining_ttl(NAMES)) <= 50.0


async def test_a_value_that_has_expired_is_not_written(redis: Server) -> None:
    removed: list[bytes] = []
    async with opened(redis.url) as near:
        near.remote.writes.queue.on_removed(removed.extend)
        near.remote.writes.put(NAMES[0], b"7", 80.0, at_most=0.0009)
        assert removed == [NAMES[0]]
        assert near.counts == {"write dropped": 1}
    assert redis.execute("DBSIZE") == 0


async def test_a_value_that_would_be_refused_is_not_written(redis: Server) -> None:
    removed: list[bytes] = []
    async with opened(redis.url) as near:
        near.remote.writes.queue.on_removed(removed.extend)
        near.put(NAMES[0], b"1" * 1001)
        near.put(NAMES[1], b"1" * 1000)
        assert removed == [NAMES[0]]
        await until(lambda: near.counts.get("write written"))
        assert near.counts == {"write dropped": 1, "write written": 1}
        assert (await near.get(*NAMES[:2])).keys() == {NAMES[1]}
    assert removed == NAMES[:2]


async def test_a_tier_that_refuses_writes_can_still_be_read(redis: Server) -> None:
    redis.execute("SET", NAMES[0].decode(), "1")
    redis.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        async with opened(redis.url) as near:
            for name in cycle(NAMES[1:]):  # as long as it takes to be refused each
                near.put(name, b"1")
                await asyncio.sleep(0.002)
                if near.counts.get("write dropped"):
                    break
            assert near.counts["write failed"] >= 5
            assert "command not allowed" in near.remote.writes.problem
            assert near.remote.health.state is BreakerState.CLOSED
            assert await near.get(NAMES[0]) == {NAMES[0]: b"1"}
            redis.execute("CONFIG", "SET", "maxmemory", "0")
            while not near.counts.get("write written"):
                near.put(NAMES[1], b"1")
                await asyncio.sleep(0.02)
            assert near.remote.writes.problem == ""
    finally:
        redis.execute("CONFIG", "SET", "maxmemory", "0")


async def test_a_single_failure_is_no_problem(redis: Server) -> None:
    redis.execute("CONFIG", "SET", "maxmemory", "1")
    try:
        async with opened(redis.url) as near:
            near.put(NAMES[0], b"1")
            await until(lambda: near.counts.get("write failed"))
            assert near.remote.writes.problem == ""
    finally:
        redis.execute("CONFIG", "SET", "maxmemory", "0")


async def test_a_full_queue_drops_its_oldest(redis: Server) -> None:
    each = 250 + len(NAMES[0]) + 10  # what Python takes
    async with opened(redis.url, limits(queue=5 * each)) as near:
        for name in NAMES:
            near.put(name, b"1234567890")
        assert near.counts == {"write dropped": 95}
        await until(lambda: near.counts.get("write written") == 5)
        assert (await near.get(*NAMES)).keys() == set(NAMES[95:])


async def test_a_read_only_tier_is_never_written_to(redis: Server) -> None:
    redis.execute("SET", NAMES[0].decode(), "poison")
    removed: list[bytes] = []
    async with opened(redis.url, limits(read_only=True)) as near:
        near.remote.writes.queue.on_removed(removed.extend)
        near.put(NAMES[1], b"1")
        assert removed == [NAMES[1]]
        assert await near.get(*NAMES[:2]) == {}
        assert near.counts == {"bad": 1, "miss": 1}
    assert redis.execute("GET", NAMES[0].decode()) == "poison"
    assert redis.execute("EXISTS", NAMES[1].decode()) == 0


async def test_closing_writes_the_queue(redis: Server) -> None:
    async with opened(redis.url) as near:
        for name in NAMES:
            near.put(name, b"1")
    assert redis.execute("EXISTS", *(name.decode() for name in NAMES)) == 100
