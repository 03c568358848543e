"""Look-ups in a shared tier: joined, bounded, validated and counted."""

import asyncio
import os
import signal

import pytest

from gomlx.cache.breaker import BreakerState
from gomlx.cache.tiered import Tiered
from tests.cache.clock import Clock
from tests.cache.remote.remotes import (
    NAMES,
    commands,
    is_digits,
    limits,
    opened,
    until,
    until_found,
)
from tests.support.processes import state_of
from tests.support.redis_servers import Server
from tests.support.relay import Relay

pytestmark = pytest.mark.asyncio


async def test_names_of_one_turn_go_out_in_one_command(redis: Server) -> None:
    for name in NAMES[::2]:
        redis.execute("SET", name.decode(), "1")
    async with opened(redis.url) as near:
        await near.get(NAMES[0])  # connected
        before = commands(redis)
        found = await asyncio.gather(*(near.get(name) for name in NAMES))
        assert [bool(f) for f in found] == [True, False] * 50
        assert commands(redis) - before == 2  # the MGET, and this question
        assert near.counts == {"hit": 51, "miss": 50}


@pytest.mark.parametrize("poison", ["x", "", "1" * 1001, "1\r\n2", "\xff"])
async def test_a_poisoned_value_is_a_miss_and_deleted(
    redis: Server, poison: str
) -> None:
    redis.execute("SET", NAMES[0].decode(), poison)
    redis.execute("SET", NAMES[1].decode(), "1")
    async with opened(redis.url) as near:
        assert await near.get(*NAMES[:3]) == {NAMES[1]: b"1"}
        assert near.counts == {"hit": 1, "bad": 1, "miss": 1}
        await until(lambda: redis.execute("EXISTS", NAMES[0].decode()) == 0)


async def test_a_value_too_large_to_come_in_time_is_deleted(redis: Server) -> None:
    """Otherwise every look-up of it would be late, again and again."""
    redis.execute("SET", NAMES[0].decode(), "1" * (32 << 20))
    async with opened(redis.url, limits(deadline=0.001), 60) as near:
        assert await near.get(NAMES[0]) == {}
        assert near.counts == {"late": 1}
        await until(lambda: redis.execute("EXISTS", NAMES[0].decode()) == 0)


async def test_one_poisoned_value_is_a_warning_and_no_more(
    redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(redis.url) as near:
        for name in NAMES[:3]:
            redis.execute("SET", name.decode(), "poison")
            assert await near.get(name) == {}
    warnings = [one for one in caplog.records if one.levelname == "WARNING"]
    assert len(warnings) == 1
    assert NAMES[0].decode() in warnings[0].getMessage()


async def test_queued_values_are_found_with_those_of_the_tier(redis: Server) -> None:
    redis.execute("SET", NAMES[0].decode(), "1")
    redis.execute("CONFIG", "SET", "maxmemory", "1")  # so that it is only in the queue
    try:
        async with opened(redis.url) as near:
            await near.get(NAMES[0])  # connected
            near.put(NAMES[1], b"2")
            assert await near.get(*NAMES[:3]) == {NAMES[0]: b"1", NAMES[1]: b"2"}
            assert near.counts["miss"] == 1
    finally:
        redis.execute("CONFIG", "SET", "maxmemory", "0")


async def test_a_value_of_another_type_is_a_miss(redis: Server) -> None:
    redis.execute("LPUSH", NAMES[0].decode(), "1")
    async with opened(redis.url) as near:
        assert await near.get(NAMES[0]) == {}


async def test_the_deadline_releases_the_callers(redis: Server, relay: Relay) -> None:
    redis.execute("SET", NAMES[0].decode(), "1")
    url = f"redis://127.0.0.1:{relay.port}/0"
    async with opened(url, limits(deadline=0.05)) as near:
        await until_found(lambda: near.get(NAMES[0]))  # connecting may take longer
        relay.holds = True
        late = near.counts.get("late", 0)
        while near.counts.get("late", 0) == late:  # the breaker may be open
            assert await near.get(NAMES[0]) == {}
            await asyncio.sleep(0.005)
        relay.holds = False
        await until_found(lambda: near.get(NAMES[0]))


async def test_while_the_breaker_is_open_nothing_is_sent(
    redis: Server, relay: Relay
) -> None:
    clock = Clock()
    url = f"redis://127.0.0.1:{relay.port}/0"
    async with opened(url, limits(deadline=0.01), clock=clock) as near:
        relay.holds = True
        while near.remote.health.state is BreakerState.CLOSED:
            assert await near.get(NAMES[0]) == {}
        assert near.state.value == BreakerState.OPEN
        late = near.counts["late"]
        assert not near.remote.health.may_allow
        assert await near.get(*NAMES) == {}
        assert near.counts["late"] == late
        assert near.counts["skipped"] >= 100
        skipped = near.counts["skipped"]
        assert not Tiered(None, [near.remote], 10).can_fetch(7)
        assert near.counts["skipped"] == skipped + 7
        relay.holds = False
        clock.now += 60
        assert near.remote.health.may_allow
        redis.execute("SET", NAMES[0].decode(), "1")
        async with asyncio.timeout(30):
            while not await near.get(NAMES[0]):
                clock.now += 60
                await asyncio.sleep(0.005)
        assert near.state.value == BreakerState.CLOSED
        assert near.remote.health.problem == ""


async def test_a_single_failure_is_not_logged(
    redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with opened(redis.url) as near:
        for _ in range(20):
            await near.get(NAMES[0])
            redis.execute("ACL", "SETUSER", "default", "-mget")
            await near.get(NAMES[0])
            redis.execute("ACL", "SETUSER", "default", "+mget")
        assert near.counts == {"miss": 20, "failed": 20}
        assert not caplog.messages
        redis.execute("ACL", "SETUSER", "default", "-mget")
        while near.remote.health.state is BreakerState.CLOSED:
            await near.get(NAMES[0])
        redis.execute("ACL", "SETUSER", "default", "+mget")
        while near.remote.health.problem:
            await near.get(NAMES[0])
            await asyncio.sleep(0.02)
    assert [message.split(":")[1] for message in caplog.messages] == [
        " look-ups fail",
        " look-ups work again",
    ]


async def test_the_state_shows_that_a_try_is_under_way(relay: Relay) -> None:
    url = f"redis://127.0.0.1:{relay.port}/0"
    async with opened(url, limits(deadline=0.03)) as near:
        relay.holds = True
        while near.remote.health.state is BreakerState.CLOSED:
            await near.get(NAMES[0])
        await until(lambda: near.remote.health.may_allow)
        trying = asyncio.create_task(near.get(NAMES[0]))
        async with asyncio.timeout(30):
            while near.state.value != BreakerState.HALF_OPEN:
                await asyncio.sleep(0)  # in the next turns: before it is too late
        await trying
        assert near.state.value == BreakerState.OPEN


async def test_a_server_that_stands_still_and_goes_on(redis: Server) -> None:
    redis.execute("SET", NAMES[0].decode(), "1")
    async with opened(redis.url, limits(deadline=0.05), 0.3) as near:
        await until_found(lambda: near.get(NAMES[0]))
        os.kill(redis.process.pid, signal.SIGSTOP)
        try:
            await until(lambda: state_of(redis.process.pid) == "T")
            while near.remote.health.state is BreakerState.CLOSED:
                assert await near.get(NAMES[0]) == {}
        finally:
            os.kill(redis.process.pid, signal.SIGCONT)
        await until_found(lambda: near.get(NAMES[0]))


async def test_a_server_that_does_not_exist() -> None:
    async with opened("redis://127.0.0.1:1/0") as near:
        assert await near.get(NAMES[0]) == {}
        assert near.counts == {"failed": 1}
        near.put(NAMES[0], b"1")
        await until(lambda: near.counts.get("write failed"))
        assert await near.remote.leases.acquire([NAMES[1]], 1.0) is None
        assert "127.0.0.1:1" in near.remote.health.problem


async def test_while_a_poll_runs_the_next_names_are_joined(
    redis: Server, relay: Relay
) -> None:
    async with opened(f"redis://127.0.0.1:{relay.port}/0") as near:
        await near.get(NAMES[0])  # connected
        relay.holds = True
        before = commands(redis)
        polls = []
        for name in NAMES[:20]:  # in twenty turns
            poll = near.remote.polls.get_many([name], is_digits)
            polls.append(asyncio.create_task(poll))
            await asyncio.sleep(0)
        relay.holds = False
        await asyncio.gather(*polls)
        assert commands(redis) - before == 2 + 1


@pytest.mark.parametrize("poison", ["x", "1" * 1001])
async def test_a_poll_returns_no_poison(redis: Server, poison: str) -> None:
    redis.execute("SET", NAMES[0].decode(), poison)
    async with opened(redis.url) as near:
        assert await near.remote.polls.get_many(NAMES[:1], is_digits) == {}
