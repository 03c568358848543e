"""Whether a shared tier works, in metrics and logs."""

import pytest

from gomlx.cache.breaker import BreakerState
from gomlx.cache.remote.health import TierHealth
from gomlx.metrics.instruments import Gauge
from tests.cache.clock import Clock


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gauge() -> Gauge:
    return Gauge()


@pytest.fixture
def health(clock: Clock, gauge: Gauge) -> TierHealth:
    return TierHealth("near: look-ups", gauge, clock)


def open_breaker(health: TierHealth) -> None:
    while health.state is BreakerState.CLOSED:
        health.failed("no answer")


def test_one_failure_is_a_problem_and_no_news(
    health: TierHealth, gauge: Gauge, caplog: pytest.LogCaptureFixture
) -> None:
    health.failed("no answer")
    assert health.problem == "no answer"
    assert health.allows()
    health.succeeded()
    assert health.problem == ""
    assert gauge.value == BreakerState.CLOSED
    assert not caplog.messages


def test_the_gauge_follows_the_breaker(
    health: TierHealth, gauge: Gauge, clock: Clock
) -> None:
    open_breaker(health)
    assert gauge.value == BreakerState.OPEN
    assert not health.may_allow
    assert not health.allows()
    clock.now += 60
    assert health.may_allow
    assert gauge.value == BreakerState.OPEN
    assert health.allows()
    assert gauge.value == BreakerState.HALF_OPEN
    health.succeeded()
    assert gauge.value == BreakerState.CLOSED


def test_each_outage_is_logged_once(
    health: TierHealth, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(2):
        open_breaker(health)
        health.failed("late")  # a try that began before
        for _ in range(3):
            clock.now += 60
            assert health.allows()
            health.failed("no answer again")
        clock.now += 60
        assert health.allows()
        health.succeeded()
    assert (
        caplog.messages
        == ["near: look-ups fail: no answer", "near: look-ups work again"] * 2
    )
