"""Commands that no caller waits for after a deadline."""

import asyncio
from collections.abc import Mapping

import pytest

from gomlx.cache.breaker import BreakerState
from gomlx.cache.remote.commands import Commands, completes_within
from gomlx.cache.remote.health import TierHealth
from tests.cache.remote.fake import FakeTier

pytestmark = pytest.mark.asyncio


@pytest.fixture
def tier() -> FakeTier:
    return FakeTier()


def commands(tier: FakeTier, deadline_seconds: float = 30.0) -> Commands:
    return Commands("near", tier, deadline_seconds, TierHealth("near: look-ups"))


async def polled(commands: Commands) -> Mapping[bytes, bytes | None] | None:
    names = [b"a", b"b"]
    return await commands.bounded(names, commands.tier.get_many(names))


async def test_each_name_has_its_result(tier: FakeTier) -> None:
    tier.values = {b"b": b"2"}
    assert await polled(commands(tier)) == {b"a": None, b"b": b"2"}


async def test_a_failure_is_no_result_and_noted(tier: FakeTier) -> None:
    tier.fails = True
    tried = commands(tier)
    assert await polled(tried) is None
    assert tried.health.problem == "no answer"


async def test_a_late_command_is_not_cancelled(tier: FakeTier) -> None:
    tier.may_reply.clear()
    tried = commands(tier, deadline_seconds=0.01)
    names = [b"a"]
    assert await tried.bounded(names, tier.acquire(names, 1000)) is None
    assert tried.health.problem == "no answer in time"
    tier.may_reply.set()
    async with asyncio.timeout(30):
        while b"a" not in tier.values:
            await asyncio.sleep(0.001)


async def test_while_the_breaker_is_open_nothing_is_sent(tier: FakeTier) -> None:
    tier.fails = True
    tried = commands(tier)
    while tried.health.state is BreakerState.CLOSED:
        assert await polled(tried) is None
    tier.may_reply.clear()  # a command would stand still
    assert await polled(tried) is None


async def test_an_attempt_that_fails_has_no_result(tier: FakeTier) -> None:
    tier.fails = True
    tried = commands(tier)
    assert await tried.attempt(tier.remaining_ttl([b"a"])) is None
    tier.fails = False
    assert await tried.attempt(tier.remaining_ttl([b"a"])) == [0]


async def test_closing_cancels_what_runs(tier: FakeTier) -> None:
    tier.values = {b"a": b"1"}
    tier.may_reply.clear()
    tried = commands(tier)
    tried.delete([b"a"])
    await asyncio.sleep(0)
    await tried.close()
    tier.may_reply.set()
    await asyncio.sleep(0)
    assert tier.is_closed
    assert tier.values


async def test_an_outcome_completes_in_time_or_later() -> None:
    outcome: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    assert not await completes_within(0.001, outcome)
    assert not outcome.cancelled()
    outcome.set_result(1)
    assert await completes_within(0.0, outcome)
