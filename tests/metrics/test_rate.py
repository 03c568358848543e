"""How fast a total grows: over the last minute, from samples a second apart."""

import pytest

from gomlx.metrics.rate import RecentRate
from tests.cache.clock import Clock


def test_it_is_unknown_until_there_are_two_samples() -> None:
    clock = Clock(100.0)
    rate = RecentRate(clock)
    assert rate.per_second() == 0
    rate.sample(1_000_000)
    assert rate.per_second() == 0
    clock.now += 2
    rate.sample(1_000_500)
    assert rate.per_second() == 250


def test_only_the_last_minute_counts() -> None:
    clock = Clock()
    rate = RecentRate(clock)
    total = 0
    for second in range(300):
        clock.now += 1
        total += 1000 if second < 200 else 10
        rate.sample(total)
        if 60 < second < 200:
            assert rate.per_second() == 1000
    assert rate.per_second() == 10


def test_a_pause_between_samples_is_counted_as_a_whole() -> None:
    clock = Clock()
    rate = RecentRate(clock)
    rate.sample(0)
    clock.now = 600
    rate.sample(6000)
    assert rate.per_second() == 10


def test_a_total_that_shrinks_is_no_growth() -> None:
    """A head that is damaged, for example."""
    clock = Clock()
    rate = RecentRate(clock)
    for total in (1 << 62, 0):
        rate.sample(total)
        clock.now += 1
    assert rate.per_second() == pytest.approx(0)
