"""Batches by turn of the event loop; bad rows; shedding; dear models in a thread."""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest

from gomlx.contract.tensor import Row
from gomlx.errors import DeadlineExceeded, Overloaded, RunFailed
from gomlx.metrics.declarations import ROWS, SECONDS
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.serving.batcher import Batcher, BatchLimits
from gomlx.models.serving.cost import EXPENSIVE_SECONDS, Cost, Spent, sizes
from gomlx.models.serving.run import RowResult, RunCounts


class Model:
    """Doubles numbers; refuses 13; remembers its batches and threads."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.threads: set[int] = set()

    def run(self, rows: Sequence[Row]) -> list[bytes]:
        self.threads.add(threading.get_ident())
        self.batches.append([x for (x,) in rows])
        if (13,) in rows:
            raise RunFailed("thirteen")
        return [str(2 * int(x)).encode() for (x,) in rows]  # type: ignore[arg-type]


class Job:
    """A row that somebody wants until they say no; its outcome when it has landed."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[RowResult] = asyncio.Future()
        self.deadline = inf

    def is_awaited(self, now: float) -> bool:
        return self.deadline > now

    def complete(self, outcome: RowResult) -> None:
        self.outcome.set_result(outcome)


def counts_of_runs() -> RunCounts:
    return RunCounts(Counter(), Counter(), Histogram(SECONDS), Histogram(ROWS))


def batcher_of(
    run: Callable[[Sequence[Row]], list[bytes]],
    limits: BatchLimits | int = 64,
    seconds: float | Sequence[float] = 0.0,
    counts: RunCounts | None = None,
) -> Batcher:
    """A batcher with limits, or max_rows; seconds: of each size of runs, or of all."""
    if isinstance(limits, int):
        limits = BatchLimits(limits, 0, 100)
    if isinstance(seconds, float):
        seconds = [seconds for _ in sizes(limits.max_rows)]
    cost = Cost(limits.max_rows, [Spent(one, one) for one in seconds])
    return Batcher("m", run, limits, counts or counts_of_runs(), cost)


async def outcomes(batcher: Batcher, values: Sequence[int]) -> list[RowResult]:
    """Add rows in one turn, and wait for all of their outcomes."""
    jobs = [Job() for _ in values]
    for value, job in zip(values, jobs, strict=True):
        batcher.add((value,), job)
    return await asyncio.gather(*(job.outcome for job in jobs))


@pytest.mark.asyncio
async def test_rows_of_one_turn_run_together() -> None:
    model = Model()
    assert await outcomes(batcher_of(model.run), [1, 2, 3]) == [b"2", b"4", b"6"]
    assert model.batches == [[1, 2, 3]]
    assert model.threads == {threading.get_ident()}


@pytest.mark.asyncio
async def test_rows_that_each_turn_brings_run_together() -> None:
    model = Model()
    batcher, jobs = batcher_of(model.run), [Job() for _ in range(9)]
    for turn in range(3):
        for n in range(3 * turn, 3 * turn + 3):
            batcher.add((n,), jobs[n])
        await asyncio.sleep(0)
    await asyncio.gather(*(job.outcome for job in jobs))
    assert model.batches == [list(range(9))]


@pytest.mark.asyncio
async def test_a_caller_alone_waits_for_nobody() -> None:
    model = Model()
    batcher, job = batcher_of(model.run), Job()
    batcher.add((1,), job)
    await asyncio.sleep(0)
    assert model.batches == [[1]]
    assert job.outcome.done()


@pytest.mark.asyncio
async def test_rows_do_not_wait_for_ever_while_others_come() -> None:
    model, most = Model(), 100_000
    batcher = batcher_of(model.run, BatchLimits(most, 0, most))
    for n in range(most):
        batcher.add((n,), Job())
        await asyncio.sleep(0)
        if model.batches:
            break
    assert 1 <= len(model.batches[0]) < most


@pytest.mark.asyncio
async def test_max_rows_is_exact() -> None:
    model = Model()
    await outcomes(batcher_of(model.run, 2), [1, 2, 3, 4, 5])
    assert model.batches == [[1, 2], [3, 4], [5]]


class Still(Cost):
    """A cost that learns nothing: a busy machine must not change where runs happen."""

    def add(self, rows: int, spent: Spent, is_in_line: bool) -> None:
        pass


@pytest.mark.asyncio
async def test_a_turn_runs_no_more_than_the_loop_may_wait() -> None:
    model = Model()

    def slow(rows: Sequence[Row]) -> list[bytes]:
        time.sleep(EXPENSIVE_SECONDS)
        return model.run(rows)

    cost = Still(2, [Spent(0.0, 0.0)])
    batcher = Batcher("m", slow, BatchLimits(2, 0, 100), counts_of_runs(), cost)
    for _ in range(6):
        batcher.add((2,), Job())
    for n in (1, 2, 3):
        await asyncio.sleep(0)
        assert len(model.batches) == n


@pytest.mark.asyncio
async def test_a_large_run_has_a_thread_a_small_one_has_none() -> None:
    model = Model()
    batcher = batcher_of(model.run, 4, [0.0, 0.0, 1.0])
    await outcomes(batcher, [1, 2])
    assert model.threads == {threading.get_ident()}
    await outcomes(batcher, [1, 2, 3])
    assert len(model.threads) == 2
    batcher.close()


async def _long_turns(until: Callable[[], object], most: int) -> int:
    """Keep the loop so busy that none of its turns is short; return how many."""
    for turn in range(most):
        if until():
            return turn
        time.sleep(0.001)  # noqa: ASYNC251  # that is the point
        await asyncio.sleep(0)
    return most


@pytest.mark.asyncio
async def test_a_dear_run_waits_while_the_loop_is_busy() -> None:
    model = Model()
    batcher, job = batcher_of(model.run, seconds=1.0), Job()
    batcher.add((1,), job)
    assert await _long_turns(lambda: model.batches, 50) == 50
    assert await job.outcome == b"2"
    batcher.close()


@pytest.mark.asyncio
async def test_a_dear_run_begins_before_its_rows_have_waited_too_long() -> None:
    model = Model()
    limits = BatchLimits(64, 0, 100, queued_seconds=0.05)
    batcher, job = batcher_of(model.run, limits, seconds=10.0), Job()
    batcher.add((1,), job)
    assert 1 < await _long_turns(lambda: model.batches, 1000) <= 25
    assert await job.outcome == b"2"
    batcher.close()


@pytest.mark.asyncio
async def test_a_dear_run_begins_with_the_first_short_turn() -> None:
    model = Model()
    batcher, job = batcher_of(model.run, seconds=1.0), Job()
    batcher.add((1,), job)
    await _long_turns(lambda: False, 10)
    assert not model.batches
    await asyncio.wait_for(job.outcome, 10)  # of the 20 s that it may wait
    batcher.close()


@pytest.mark.asyncio
async def test_a_dear_run_waits_not_for_ever() -> None:
    model = Model()
    batcher, job = batcher_of(model.run, seconds=2 * EXPENSIVE_SECONDS), Job()
    batcher.add((1,), job)
    assert 1 < await _long_turns(lambda: model.batches, 100_000) < 100_000
    assert await job.outcome == b"2"
    batcher.close()


@pytest.mark.asyncio
async def test_a_dear_run_waits_for_more_rows_where_more_have_come() -> None:
    model, go = Model(), threading.Event()

    def run(rows: Sequence[Row]) -> list[bytes]:
        assert go.wait(60)
        return model.run(rows)

    batcher = batcher_of(run, BatchLimits(16, 1000.0, 100), 9000.0)
    for _ in range(2):  # a full run does not wait for the end of the linger
        first = asyncio.create_task(outcomes(batcher, [1]))
        for _ in range(3):
            await asyncio.sleep(0)
        rest = [Job() for _ in range(15)]
        for job in rest:
            batcher.add((1,), job)
        go.set()
        await asyncio.gather(first, *(job.outcome for job in rest))
    batcher.close()
    assert [len(batch) for batch in model.batches] == [1, 15, 16]


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["in line", "in a thread"])
@pytest.mark.asyncio
async def test_a_bad_row_fails_alone(seconds: float) -> None:
    model = Model()
    batcher = batcher_of(model.run, 64, seconds)
    found = await outcomes(batcher, [13 if n == 40 else 100 + n for n in range(64)])
    batcher.close()
    assert isinstance(found.pop(40), RunFailed)
    assert found == [b"%d" % (200 + 2 * n) for n in range(64) if n != 40]
    assert len(model.batches) == 13  # of all, and of two halves six times


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["in line", "in a thread"])
@pytest.mark.asyncio
async def test_every_run_is_counted(seconds: float) -> None:
    counts = counts_of_runs()
    batcher = batcher_of(Model().run, seconds=seconds, counts=counts)
    await outcomes(batcher, [1, 13, 3])
    await outcomes(batcher, [4, 5])
    batcher.close()
    assert counts.runs.n == sum(counts.seconds.counts) == 6
    assert counts.failures.n == 3  # of the three rows, of two, and of the bad one
    assert counts.rows.sums.total == 3 + 1 + 2 + 1 + 1 + 2


@pytest.mark.asyncio
async def test_a_bug_is_an_outcome_too() -> None:
    def run(rows: Sequence[Row]) -> list[bytes]:
        raise ZeroDivisionError("oops")

    (found,) = await outcomes(batcher_of(run), [1])
    assert isinstance(found, RunFailed)
    assert "oops" in str(found)


@pytest.mark.asyncio
async def test_a_full_queue_sheds_and_recovers() -> None:
    model = Model()
    batcher = batcher_of(model.run, BatchLimits(64, 0, 2))
    for value in (1, 2):
        batcher.add((value,), Job())
    with pytest.raises(Overloaded, match="'m' has 2 rows waiting"):
        batcher.check_room(1)
    while len(batcher):
        await asyncio.sleep(0)
    batcher.check_room(2)
    with pytest.raises(Overloaded):
        batcher.check_room(3)


@pytest.mark.asyncio
async def test_who_would_wait_too_long_is_shed_at_once() -> None:
    batcher = batcher_of(Model().run, BatchLimits(2, 0, 100, 2.0), 1.0)
    for _ in range(5):  # a new row would run in the third run: after two seconds
        assert batcher.has_room(100 - len(batcher))
        batcher.add((1,), Job())
    assert not batcher.has_room(1, seconds=1.9)
    assert batcher.has_room(0, seconds=1.9)  # who joins a flight
    batcher.add((1,), Job())
    with pytest.raises(Overloaded) as refused:
        batcher.check_room(1)
    assert refused.value.retry_after == 3
    for _ in range(4):
        await asyncio.sleep(0)
    assert len(batcher) < 6
    batcher.check_room(1)
    batcher.close()


@pytest.mark.parametrize(
    ("seconds_per_run", "seconds"), [(0.0001, 1), (2.0, 8), (1000.0, 60)]
)
@pytest.mark.asyncio
async def test_those_who_are_shed_may_come_back_when_the_queue_has_run(
    seconds_per_run: float, seconds: int
) -> None:
    batcher = batcher_of(Model().run, BatchLimits(2, 0, 9), seconds_per_run)
    for value in range(9):
        batcher.add((value,), Job())
    with pytest.raises(Overloaded) as refused:
        batcher.check_room(1)
    assert refused.value.retry_after == seconds
    await asyncio.sleep(0)
    batcher.close()


@pytest.mark.asyncio
async def test_rows_that_nobody_wants_take_no_place_in_a_run() -> None:
    model, jobs = Model(), [Job() for _ in range(8)]
    batcher = batcher_of(model.run, 2)
    for value, job in enumerate(jobs):
        batcher.add((value,), job)
    for value in (0, 3, 4, 7):
        jobs[value].deadline = 0.0
    found = await asyncio.gather(*(job.outcome for job in jobs))
    assert model.batches == [[1, 2], [5, 6]]
    assert {type(found[value]) for value in (0, 3, 4, 7)} == {DeadlineExceeded}
    assert await outcomes(batcher, [9]) == [b"18"]


@pytest.mark.asyncio
async def test_a_full_queue_makes_room_by_dropping_what_nobody_wants() -> None:
    batcher, jobs = (
        batcher_of(Model().run, BatchLimits(64, 0, 3)),
        [Job() for _ in range(3)],
    )
    for value, job in enumerate(jobs):
        batcher.add((value,), job)
    jobs[1].deadline = 0.0
    batcher.note_abandoned()
    batcher.check_room(1)
    assert isinstance(jobs[1].outcome.result(), DeadlineExceeded)
    with pytest.raises(Overloaded):
        batcher.check_room(2)
    assert [await jobs[value].outcome for value in (0, 2)] == [b"0", b"4"]


@pytest.mark.asyncio
async def test_a_dear_model_runs_in_a_thread_and_gathers_meanwhile() -> None:
    model, started, go = Model(), threading.Event(), threading.Event()

    def slow(rows: Sequence[Row]) -> list[bytes]:
        started.set()
        assert go.wait(60)
        return model.run(rows)

    batcher = batcher_of(slow, seconds=1.0)
    first = asyncio.create_task(outcomes(batcher, [1]))
    await asyncio.to_thread(started.wait, 60)
    rest = [asyncio.create_task(outcomes(batcher, [n])) for n in (2, 3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(batcher) == 2
    go.set()
    await asyncio.gather(first, *rest)
    assert model.batches == [[1], [2, 3]]
    assert threading.get_ident() not in model.threads
    batcher.close()
