"""Room in rows and in time; abandoned rows; halves that run first."""

from math import inf

from gomlx.errors import DeadlineExceeded, Overloaded
from gomlx.models.batching.cost import Cost, Timing
from gomlx.models.batching.queue import BatchLimits, RowQueue
from tests.models.batching.jobs import Job, complete, numbers


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def queue_of(
    limits: BatchLimits, seconds: float = 0.0, clock: Clock | None = None
) -> RowQueue:
    """A queue whose runs are expected to take so many seconds."""
    cost = Cost(limits.max_rows, [Timing(seconds, seconds)] * 10)
    return RowQueue("m", limits, cost, complete, clock or Clock())


def fill(queue: RowQueue, count: int, deadline: float = inf) -> list[Job]:
    jobs = [Job(deadline) for _ in range(count)]
    for job in jobs:
        queue.rows.append(((float(len(queue.rows)),), job))
    return jobs


def test_room_in_rows() -> None:
    queue = queue_of(BatchLimits(64, 0, 3))
    assert queue.has_room(3)
    assert not queue.has_room(4)
    fill(queue, 2)
    assert queue.shortage(1) is None
    error = queue.shortage(2)
    assert isinstance(error, Overloaded)
    assert "'m' has 2 rows waiting" in str(error)
    assert queue.shortage(3) is error  # all get one, until the next run
    queue.pop(0.0)
    fill(queue, 3)
    assert "'m' has 3 rows waiting" in str(queue.shortage(1))


def test_room_in_time() -> None:
    queue = queue_of(BatchLimits(2, 0, 100, queued_seconds=2.0), seconds=1.0)
    fill(queue, 5)  # a new row would start with the third run: after two seconds
    assert queue.has_room(1)
    assert queue.has_room(1, seconds=2.0)
    assert not queue.has_room(1, seconds=1.9)
    fill(queue, 1)
    assert not queue.has_room(1)
    error = queue.shortage(1)
    assert error and error.retry_after == 3


def test_rows_that_fit_the_next_run_always_start_in_time() -> None:
    queue = queue_of(BatchLimits(4, 0, 100, queued_seconds=0.1), seconds=60.0)
    fill(queue, 3)
    assert queue.has_room(1, seconds=0.0)
    fill(queue, 1)
    assert not queue.has_room(1)


def test_no_rows_always_fit() -> None:
    queue = queue_of(BatchLimits(1, 0, 1, queued_seconds=0.0), seconds=1.0)
    fill(queue, 1)
    assert queue.has_room(0, seconds=0.0)
    assert queue.shortage(0) is None


def test_back_to_back_runs_that_are_slow_leave_less_room() -> None:
    queue = queue_of(BatchLimits(1, 0, 100, queued_seconds=2.0), seconds=1.0)
    for n in range(100):  # each takes three seconds, its wait for the loop included
        fill(queue, 2 - len(queue.rows))
        queue.pop(3.0 * n)
    fill(queue, 1 - len(queue.rows))
    assert not queue.has_room(1)
    queue.pop(300.0)
    assert queue.has_room(1)


def test_idle_time_leaves_the_room_as_it_is() -> None:
    """The rows that waited for the next run were abandoned."""
    queue = queue_of(BatchLimits(1, 0, 100, queued_seconds=2.0), seconds=1.0)
    fill(queue, 1)
    (late,) = fill(queue, 1, deadline=1.0)
    assert len(queue.pop(0.0)) == 1
    assert not queue.pop(2.0)
    assert isinstance(late.outcomes[0], DeadlineExceeded)
    fill(queue, 1)
    queue.pop(1000.0)
    fill(queue, 2)
    assert queue.has_room(1)


def test_a_run_has_at_most_max_rows() -> None:
    queue = queue_of(BatchLimits(2, 0, 100))
    fill(queue, 5)
    sizes = []
    while rows := queue.next_rows():
        sizes.append((rows, numbers(queue.pop(0.0))))
    assert sizes == [(2, [0.0, 1.0]), (2, [2.0, 3.0]), (1, [4.0])]
    assert queue.pop(0.0) == []


def test_abandoned_rows_are_dropped_on_the_way_into_a_run() -> None:
    queue = queue_of(BatchLimits(2, 0, 100))
    fill(queue, 1)
    dropped = fill(queue, 3, deadline=1.0)
    fill(queue, 3)
    assert numbers(queue.pop(1.0)) == [0.0, 4.0]
    assert [type(job.outcomes[0]) for job in dropped] == [DeadlineExceeded] * 3
    assert numbers(queue.pop(1.0)) == [5.0, 6.0]


def test_a_full_queue_drops_what_is_known_to_be_abandoned() -> None:
    clock = Clock()
    queue = queue_of(BatchLimits(64, 0, 3), clock=clock)
    fill(queue, 1)
    (dropped,) = fill(queue, 1, deadline=1.0)
    fill(queue, 1)
    clock.now = 2.0
    assert queue.shortage(1)  # no caller has said that it gives up
    queue.note_abandoned()
    assert queue.shortage(1) is None
    assert isinstance(dropped.outcomes[0], DeadlineExceeded)
    assert numbers(queue.pop(2.0)) == [0.0, 2.0]


def test_a_row_that_is_added_while_others_are_dropped_stays() -> None:
    clock = Clock()

    class Again(Job):
        def complete(self, outcome: object) -> None:
            fill(queue, 1)

    queue = queue_of(BatchLimits(64, 0, 2), clock=clock)
    fill(queue, 1)
    queue.rows.append(((9.0,), Again(1.0)))
    queue.note_abandoned()
    clock.now = 2.0
    assert queue.shortage(1)
    assert len(queue.pop(2.0)) == 2


def test_added_rows_are_counted_wherever_they_end() -> None:
    clock = Clock()
    queue = queue_of(BatchLimits(4, 0, 5), clock=clock)
    fill(queue, 2)
    fill(queue, 1, deadline=1.0)
    assert queue.added == 3
    batch = queue.pop(1.0)
    assert queue.added == 3
    queue.retry([batch[:1], batch[1:]])
    queue.pop(1.0)
    queue.pop(1.0)
    assert queue.added == 3
    fill(queue, 2)
    fill(queue, 3, deadline=1.0)
    clock.now = 2.0
    queue.note_abandoned()
    assert queue.shortage(3) is None
    assert len(queue.rows) == 2
    assert queue.added == 8


def test_halves_run_before_other_rows_the_first_one_first() -> None:
    queue = queue_of(BatchLimits(4, 0, 100))
    fill(queue, 5)
    batch = queue.pop(0.0)
    queue.retry([batch[:2], batch[2:]])
    assert queue.next_rows() == 2
    first = queue.pop(0.0)
    queue.retry([first[:1], first[1:]])
    assert [numbers(queue.pop(0.0)) for _ in range(4)] == [
        [0.0],
        [1.0],
        [2.0, 3.0],
        [4.0],
    ]


def test_abandoned_rows_of_halves_are_dropped_too() -> None:
    queue = queue_of(BatchLimits(4, 0, 100))
    kept = fill(queue, 1)
    late = fill(queue, 1, deadline=1.0)
    queue.retry([queue.pop(0.0)])
    assert numbers(queue.pop(1.0)) == [0.0]
    assert isinstance(late[0].outcomes[0], DeadlineExceeded)
    assert not kept[0].outcomes
