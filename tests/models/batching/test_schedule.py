"""When a run starts: by numbers and a given clock, without an event loop."""

from math import inf

import pytest

from gomlx.models.batching.cost import EXPENSIVE_SECONDS, Cost, Timing
from gomlx.models.batching.linger import Linger
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.schedule import Schedule, ScheduleState

MAX_ROWS = 64
SHORT_TURN = 0.0001
LONG_TURN = 0.001


class Machine:
    """A schedule, the clock that it reads, and what it knows of arrivals."""

    def __init__(
        self, seconds: float = 0.0, linger: float = 0.0, queued_seconds: float = inf
    ) -> None:
        self.now = 100.0
        self.linger = Linger(linger)
        limits = BatchLimits(MAX_ROWS, linger, 1000, queued_seconds)
        cost = Cost(MAX_ROWS, [Timing(seconds, seconds)] * 7)
        self.schedule = Schedule(limits, cost, self.linger, lambda: self.now)

    def turn(
        self, waiting: int, seconds: float = SHORT_TURN, brought: int = 0
    ) -> ScheduleState:
        """What a turn of the loop leads to, so long after the last one."""
        self.now += seconds
        return self.schedule.turn(waiting, brought)

    def ran(self, rows: int, has_more: bool = False) -> None:
        """A run of so many rows, from the first row to the end."""
        self.schedule.wake()
        self.schedule.start()
        self.schedule.end(rows, has_more)


def test_the_first_row_wakes_an_idle_schedule() -> None:
    schedule = Machine().schedule
    assert schedule.state is ScheduleState.IDLE
    assert schedule.wakes_at == 1
    assert schedule.wake() is ScheduleState.GATHERING
    assert schedule.wakes_at > 10**9


def test_a_single_caller_waits_for_no_one() -> None:
    machine = Machine()
    for _ in range(3):
        machine.schedule.wake()
        assert machine.turn(1) is ScheduleState.RUNNING
        machine.schedule.end(1, has_more=False)
        assert machine.schedule.state is ScheduleState.IDLE
        assert machine.schedule.wakes_at == 1


def test_rows_gather_while_turns_bring_more() -> None:
    machine = Machine()
    machine.schedule.wake()
    assert machine.turn(8) is ScheduleState.GATHERING
    assert machine.turn(15) is ScheduleState.GATHERING
    assert machine.turn(16) is ScheduleState.GATHERING
    assert machine.turn(16) is ScheduleState.RUNNING


def test_the_first_row_of_several_callers_waits_for_the_others() -> None:
    """The last run had several rows: more of them may be on their way."""
    machine = Machine()
    machine.ran(2)
    machine.schedule.wake()
    assert machine.turn(1) is ScheduleState.GATHERING
    assert machine.turn(1) is ScheduleState.RUNNING


def test_a_row_waits_while_turns_bring_other_requests() -> None:
    """Most of them are hits: their callers may send rows next."""
    machine = Machine()
    machine.schedule.wake()
    assert machine.turn(1, brought=3) is ScheduleState.GATHERING
    assert machine.turn(1, brought=2) is ScheduleState.GATHERING
    assert machine.turn(1, brought=1) is ScheduleState.RUNNING


def test_a_row_does_not_wait_long_for_other_requests() -> None:
    machine = Machine()
    machine.schedule.wake()
    turns = 1
    while machine.turn(1, brought=9) is ScheduleState.GATHERING:
        turns += 1
    assert turns == pytest.approx(EXPENSIVE_SECONDS / 2 / SHORT_TURN, abs=2)


def test_a_full_run_does_not_gather() -> None:
    machine = Machine()
    machine.schedule.wake()
    assert machine.turn(MAX_ROWS) is ScheduleState.RUNNING


def test_rows_do_not_gather_for_longer_than_the_loop_may_wait() -> None:
    machine = Machine()
    machine.schedule.wake()
    turns = 1
    while machine.turn(2 * turns) is ScheduleState.GATHERING:
        turns += 1
    assert turns == pytest.approx(EXPENSIVE_SECONDS / SHORT_TURN, abs=2)


def test_rows_that_wait_after_a_run_gather_again() -> None:
    machine = Machine()
    machine.ran(4, has_more=True)
    assert machine.schedule.state is ScheduleState.GATHERING
    assert machine.turn(2) is ScheduleState.GATHERING
    assert machine.turn(2) is ScheduleState.RUNNING


def test_a_cheap_run_never_yields() -> None:
    machine = Machine(seconds=EXPENSIVE_SECONDS / 2)
    machine.schedule.wake()
    assert machine.turn(1, LONG_TURN) is ScheduleState.RUNNING


def test_an_expensive_run_yields_until_the_first_short_turn() -> None:
    machine = Machine(seconds=1.0)
    machine.schedule.wake()
    for _ in range(50):
        assert machine.turn(1, LONG_TURN) is ScheduleState.YIELDING
    assert machine.turn(1) is ScheduleState.RUNNING


def test_an_expensive_run_yields_for_a_turn_at_least() -> None:
    machine = Machine(seconds=1.0)
    machine.schedule.wake()
    assert machine.turn(1) is ScheduleState.YIELDING
    assert machine.turn(1) is ScheduleState.RUNNING


@pytest.mark.parametrize(
    ("seconds", "queued_seconds", "longest"),
    [
        (0.01, inf, 0.2),  # twenty times the run
        (0.01, 0.1, 0.05),  # half of what rows may wait
    ],
)
def test_an_expensive_run_does_not_yield_for_ever(
    seconds: float, queued_seconds: float, longest: float
) -> None:
    machine = Machine(seconds, queued_seconds=queued_seconds)
    machine.schedule.wake()
    started = machine.now
    while machine.turn(1, LONG_TURN) is ScheduleState.YIELDING:
        pass
    assert machine.now - started == pytest.approx(longest, abs=2 * LONG_TURN)


def test_every_run_yields_anew() -> None:
    machine = Machine(seconds=1.0)
    for _ in range(2):
        machine.schedule.wake()
        assert machine.turn(1) is ScheduleState.YIELDING
        assert machine.turn(1) is ScheduleState.RUNNING
        machine.schedule.end(1, has_more=False)


def test_rows_gather_while_a_run_yields() -> None:
    machine = Machine(seconds=1.0)
    machine.schedule.wake()
    assert machine.turn(2) is ScheduleState.GATHERING
    assert machine.turn(2) is ScheduleState.YIELDING
    assert machine.turn(3) is ScheduleState.GATHERING
    assert machine.turn(3) is ScheduleState.RUNNING


def lingering() -> Machine:
    """A schedule that lingers with two rows: eight more are likely."""
    machine = Machine(seconds=0.05, linger=0.002)
    for _ in range(50):
        machine.linger.observe(8)
    machine.schedule.wake()
    machine.turn(2)
    machine.turn(2)
    assert machine.turn(2) is ScheduleState.LINGERING
    return machine


def test_a_run_lingers_until_it_is_full() -> None:
    schedule = lingering().schedule
    assert schedule.wakes_at == MAX_ROWS
    assert schedule.wake() is ScheduleState.RUNNING
    assert schedule.wakes_at > 10**9


def test_a_run_lingers_until_the_time_has_passed() -> None:
    schedule = lingering().schedule
    schedule.start()
    assert schedule.state is ScheduleState.RUNNING
    assert schedule.wakes_at > 10**9


def test_a_run_does_not_linger_where_no_rows_arrive() -> None:
    machine = Machine(seconds=0.05, linger=0.002)
    machine.schedule.wake()
    assert machine.turn(1) is ScheduleState.YIELDING
    assert machine.turn(1) is ScheduleState.RUNNING


def test_an_empty_queue_has_nothing_to_wait_for() -> None:
    """All of its rows were dropped between two turns."""
    machine = Machine()
    machine.schedule.wake()
    assert machine.turn(0) is ScheduleState.RUNNING


def test_another_run_fits_a_turn_within_the_time_that_the_loop_may_wait() -> None:
    schedule = Machine(seconds=EXPENSIVE_SECONDS / 4).schedule
    assert schedule.has_time(1, EXPENSIVE_SECONDS / 2)
    assert not schedule.has_time(1, EXPENSIVE_SECONDS)
