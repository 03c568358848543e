"""The predicted cost of runs, and where they run because of it."""

from math import inf
from time import thread_time

import pytest

from gomlx.models.batching.cost import (
    CHEAP_SECONDS,
    EXPENSIVE_SECONDS,
    Cost,
    Slowdown,
    Timing,
    batch_sizes,
    measure_sizes,
    new_sizes_cost,
    rows_of_requests,
)


def cpu(seconds: float) -> Timing:
    return Timing(seconds, seconds)


def waits(seconds: float) -> Timing:
    return Timing(seconds, 0.0)


@pytest.mark.parametrize(
    ("max_rows", "expected"),
    [(1, [1]), (2, [1, 2]), (5, [1, 2, 4, 5]), (64, [1, 2, 4, 8, 16, 32, 64])],
)
def test_sizes_that_are_measured(max_rows: int, expected: list[int]) -> None:
    assert list(batch_sizes(max_rows)) == expected


def test_every_size_has_its_own_cost() -> None:
    cost = Cost(5, [cpu(1.0), cpu(2.0), cpu(3.0), cpu(4.0)])
    assert [cost.estimate(rows) for rows in range(1, 6)] == [1.0, 2.0, 3.0, 3.0, 4.0]


def test_each_size_that_was_not_measured_is_assumed_to_double() -> None:
    cost = Cost(8, [cpu(0.0002), cpu(0.0003)])
    assert [cost.estimate(rows) for rows in (2, 4, 8)] == [0.0003, 0.0006, 0.0012]
    assert [cost.is_expensive(rows) for rows in (2, 4, 5, 8)] == [
        False,
        False,
        True,
        True,
    ]


def test_between_the_thresholds_runs_stay_where_they_are() -> None:
    middle = (CHEAP_SECONDS + EXPENSIVE_SECONDS) / 2
    cost = Cost(1, [cpu(middle)])
    assert not cost.is_expensive(1)
    for _ in range(50):
        cost.observe(1, cpu(EXPENSIVE_SECONDS * 1.1), True)
    assert cost.is_expensive(1)
    for _ in range(500):
        cost.observe(1, cpu(middle), False)
    assert cost.is_expensive(1)
    for _ in range(500):
        cost.observe(1, cpu(CHEAP_SECONDS * 0.9), False)
    assert not cost.is_expensive(1)


@pytest.mark.parametrize("slow", [cpu(0.05), waits(0.05)])
def test_a_very_long_run_counts_for_a_while(slow: Timing) -> None:
    cost = Cost(4, [cpu(0.0001)] * 3)
    cost.observe(4, slow, True)
    for _ in range(20):
        assert cost.is_expensive(4)
        cost.observe(4, cpu(0.0001), False)
    assert not cost.is_expensive(2)
    for _ in range(200):
        cost.observe(4, cpu(0.0001), False)
    assert not cost.is_expensive(4)


def test_a_size_is_observed_again_after_a_moment() -> None:
    """Or after a run that has kept the event loop for as long."""
    cost = Cost(4, [cpu(0.0001)] * 3)
    assert cost.is_due(1, 10.0)
    assert not cost.is_due(1, 10.0019)
    assert cost.is_due(3, 10.0)
    assert not cost.is_due(4, 10.001)
    assert cost.is_due(1, 10.0021)
    assert not cost.is_due(1, 10.004)


def test_a_single_longer_run_changes_nothing() -> None:
    cost = Cost(1, [cpu(0.0001)])
    for _ in range(10):
        cost.observe(1, cpu(0.003), True)
        assert not cost.is_expensive(1)
        for _ in range(20):
            cost.observe(1, cpu(0.0001), True)


def test_a_wait_in_line_may_be_for_the_processor() -> None:
    cost = Cost(1, [cpu(0.0001)])
    cost.observe(1, waits(0.004), True)
    assert not cost.is_expensive(1)
    for _ in range(10):
        cost.observe(1, waits(0.004), True)
    assert cost.is_expensive(1)


def test_a_wait_in_a_thread_may_be_for_the_event_loop() -> None:
    cost = Cost(1, [cpu(0.0001)])
    for _ in range(100):
        cost.observe(1, waits(0.004), False)
    assert not cost.is_expensive(1)


def test_a_model_that_waits_for_its_device_stays_in_its_thread() -> None:
    cost = Cost(1, [waits(0.003)])
    for _ in range(100):
        cost.observe(1, waits(0.003), False)
    assert cost.is_expensive(1)
    assert cost.estimate(1) == pytest.approx(0.003)


def test_sizes_that_would_take_too_long_are_not_measured() -> None:
    ran = []
    now = 0.0

    def run(rows: int) -> None:
        nonlocal now
        ran.append(rows)
        now += 0.06 * rows

    measured = measure_sizes(run, 64, clock=lambda: now)
    assert ran == [1, 1, 1, 2, 2, 2]
    assert [timing.wall for timing in measured] == pytest.approx([0.06, 0.12])
    assert len(measure_sizes(lambda rows: None, 64)) == 7


def test_a_busy_loop_slows_runs_down_that_are_back_to_back() -> None:
    slowdown = Slowdown(Cost(2, [Timing(1.0, 1.0), Timing(2.0, 2.0)]))
    for now in range(0, 100, 5):
        slowdown.run_starts(float(now), 1, has_more=False)
    assert slowdown.factor == 1.0
    for now in range(100, 600, 5):
        slowdown.run_starts(float(now), 1, has_more=True)
    assert slowdown.factor == pytest.approx(5.0, rel=0.01)
    assert slowdown.seconds(2) == pytest.approx(10.0, rel=0.01)
    for now in range(600, 700):
        slowdown.run_starts(float(now), 2, has_more=True)
    assert slowdown.factor == pytest.approx(1.0, rel=0.01)


def test_idle_time_is_not_a_slow_run() -> None:
    """The rows that waited for the next run were abandoned."""
    slowdown = Slowdown(Cost(1, [Timing(0.001, 0.001)]))
    slowdown.run_starts(0.0, 1, True)
    slowdown.idle()
    slowdown.run_starts(60.0, 1, False)
    assert slowdown.factor == 1.0


def test_all_sizes_are_measured_if_there_is_no_budget() -> None:
    ticks = iter(range(1000))
    measured = measure_sizes(lambda rows: None, 64, lambda: next(ticks), inf)
    assert len(measured) == 7


class Compiling:
    """A run that uses 30 ms of CPU time for each size that it has not seen."""

    def __init__(self, prepared: set[int]) -> None:
        self._seen = set(prepared)

    def __call__(self, rows: int) -> None:
        until = thread_time() + (0 if rows in self._seen else 0.03)
        self._seen.add(rows)
        while thread_time() < until:
            pass


@pytest.mark.parametrize(
    ("prepared", "max_rows", "expected"),
    [
        ({1, 2, 4, 8}, 8, True),
        ({1, 2, 3, 4, 5, 6, 7, 8}, 8, False),
        ({1, 2, 4, 5, 8}, 8, False),  # by chance: all of them must cost
        ({1, 2}, 2, False),  # there is no other size
    ],
)
def test_whether_a_new_size_costs(
    prepared: set[int], max_rows: int, expected: bool
) -> None:
    measured = [cpu(0.0001)] * len(list(batch_sizes(max_rows)))
    assert new_sizes_cost(Compiling(prepared), max_rows, measured) is expected


def test_new_sizes_are_not_tried_after_the_budget_is_used_up() -> None:
    run = Compiling({1})
    assert not new_sizes_cost(run, 64, [cpu(0.4), cpu(0.6)])


def test_the_cost_of_a_key_is_that_of_loading() -> None:
    cost = Cost(4, [cpu(0.001), cpu(0.002), cpu(0.003)])
    cost.observe(1, cpu(0.1), True)
    assert cost.estimate(1) > 0.001
    assert cost.key_seconds == 0.001
    of_requests = Cost(4, [cpu(0.001), cpu(0.002), cpu(0.003)], rows_of_requests)
    assert of_requests.key_seconds == 0.003
