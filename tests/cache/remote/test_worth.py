"""What a look-up costs is measured; models that cost less may do without a tier."""

import os
import signal
from collections import defaultdict

import pytest

from gomlx.cache.remote.worth import Worth
from gomlx.config.schema import CacheTier
from gomlx.metrics.instruments import Gauge
from tests.cache.remote.remotes import commands, limits, opened, until_found
from tests.support.redis_servers import Server


@pytest.mark.asyncio
async def test_a_look_up_is_measured_once_and_counted_nowhere(redis: Server) -> None:
    async with opened(redis.url) as near:
        assert near.remote.worth.lookup_seconds == 0
        await until_found(near.remote.measure)
        measured = near.remote.worth.lookup_seconds
        assert measured > 0
        assert near.counts == {}
        before = commands(redis)
        assert await near.remote.measure()
        assert commands(redis) - before == 1  # this question
        assert near.remote.worth.lookup_seconds == measured
    assert redis.execute("DBSIZE") == 0


@pytest.mark.asyncio
async def test_a_tier_that_cannot_be_reached_is_measured_later(redis: Server) -> None:
    async with opened(redis.url, limits(deadline=0.02)) as near:
        os.kill(redis.process.pid, signal.SIGSTOP)
        try:
            assert not await near.remote.measure()
            assert near.remote.worth.lookup_seconds == 0
        finally:
            os.kill(redis.process.pid, signal.SIGCONT)
        await until_found(near.remote.measure)
    async with opened("redis://127.0.0.1:1") as nowhere:
        assert not await nowhere.remote.measure()


@pytest.mark.parametrize(
    ("below", "run_us", "lookup_us", "is_skipped"),
    [
        (None, 1, 170, False),
        ("auto", 169, 170, True),
        ("auto", 170, 170, False),
        ("auto", 1, 0, False),  # not measured yet
        (100, 99, 0, True),
        (100, 100, 170, False),
        (0, 0, 170, False),
    ],
)
def test_what_the_option_says(
    below: float | None, run_us: float, lookup_us: float, is_skipped: bool
) -> None:
    tier = CacheTier(connection="near", skip_below_us=below)
    assert tier.skips(run_us / 1e6, lookup_us / 1e6) == is_skipped


def test_decisions_are_shown() -> None:
    gauges: dict[tuple[str, ...], Gauge] = defaultdict(Gauge)
    cost = Gauge()
    tier = CacheTier(connection="near", skip_below_us=100)
    worth = Worth(tier.skips, cost, lambda *key: gauges[key])
    worth.note_lookup(170e-6)
    assert cost.value == 170e-6
    for run_us, costs_more, is_skipped in ((50, 1, 1), (150, 1, 0), (500, 0, 0)):
        assert worth.skips("m", run_us / 1e6) == bool(is_skipped)
        assert gauges["gomlx_tier_costs_more", "m"].value == costs_more
        assert gauges["gomlx_tier_skipped", "m"].value == is_skipped
        assert worth.skipped == ({"m"} if is_skipped else set())


def test_a_model_that_is_gone_is_not_among_those_without_the_tier() -> None:
    worth = Worth(lambda *_: True)
    for model in ("a", "b"):
        assert worth.skips(model, 0.001)
    worth.keep_models({"b"}.__contains__)
    assert worth.skipped == {"b"}
