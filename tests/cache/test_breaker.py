"""A circuit breaker: what keeps failing is skipped, and tried now and then."""

from random import Random

from gomlx.cache.breaker import Breaker, BreakerState
from tests.cache.clock import Clock


def opened(random: Random | None = None) -> tuple[Breaker, Clock]:
    clock = Clock()
    breaker = Breaker(clock, random) if random else Breaker(clock)
    while breaker.state is BreakerState.CLOSED:
        breaker.failed()
    return breaker, clock


def waited(breaker: Breaker, clock: Clock) -> float:
    """Wait for the next try, and return how long that took."""
    start = clock.now
    while not breaker.may_allow:
        clock.now += 0.01
    return clock.now - start


def test_a_closed_one_allows_everything() -> None:
    breaker = Breaker(Clock())
    assert all(breaker.allows() for _ in range(100))


def test_only_failures_in_a_row_open_it() -> None:
    breaker = Breaker(Clock())
    for _ in range(20):
        for _ in range(4):
            breaker.failed()
        breaker.succeeded()
    assert breaker.allows()
    for _ in range(5):
        breaker.failed()
    assert breaker.state is BreakerState.OPEN
    assert not breaker.allows()


def test_after_a_wait_one_may_try() -> None:
    breaker, clock = opened()
    waited(breaker, clock)
    assert breaker.allows()
    assert breaker.state is BreakerState.HALF_OPEN
    assert not breaker.allows()


def test_a_try_that_succeeds_closes_it() -> None:
    breaker, clock = opened()
    waited(breaker, clock)
    breaker.allows()
    breaker.succeeded()
    assert breaker.state is BreakerState.CLOSED
    breaker.failed()
    assert breaker.state is BreakerState.CLOSED  # it counts anew


def test_each_try_that_fails_makes_the_wait_longer_up_to_a_bound() -> None:
    breaker, clock = opened()
    waits = []
    for _ in range(10):
        waits.append(waited(breaker, clock))
        assert breaker.allows()
        breaker.failed()
        assert breaker.state is BreakerState.OPEN
    assert waits[0] < waits[2] < waits[4]
    assert max(waits) <= 5 * 1.2 + 0.01


def test_breakers_that_open_together_do_not_try_together() -> None:
    tries = {waited(*opened()) for _ in range(20)}
    assert len(tries) > 1


def test_the_wait_is_as_random_as_its_source() -> None:
    tries = {waited(*opened(Random(1))) for _ in range(20)}
    assert len(tries) == 1


def test_failures_from_before_it_opened_do_not_make_the_wait_longer() -> None:
    breaker, clock = opened()
    for _ in range(50):
        breaker.failed()
    assert waited(breaker, clock) < 1
