"""Runs by turn of the event loop; bad rows; shedding; expensive runs in a thread."""

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
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.cost import EXPENSIVE_SECONDS, Cost, Timing, batch_sizes
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.run import RowResult, RunMetrics


class Model:
    """Doubles numbers, and rejects 13; records its batches and threads."""

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
    """A row that is awaited until its deadline, and its outcome."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[RowResult] = asyncio.Future()
        self.deadline = inf

    def is_awaited(self, now: float) -> bool:
        return self.deadline > now

    def complete(self, outcome: RowResult) -> None:
        self.outcome.set_result(outcome)


def run_metrics() -> RunMetrics:
    return RunMetrics(
        Counter(), Counter(), Histogram(SECONDS), Histogram(ROWS), Counter()
    )


def batcher_of(
    run: Callable[[Sequence[Row]], list[bytes]],
    limits: BatchLimits | int = 64,
    seconds: float | Sequence[float] = 0.0,
    metrics: RunMetrics | None = None,
) -> Batcher:
    """A batcher with limits, or max_rows. seconds: of each batch size, or of all."""
    if isinstance(limits, int):
        limits = BatchLimits(limits, 0, 100)
    if isinstance(seconds, float):
        seconds = [seconds for _ in batch_sizes(limits.max_rows)]
    cost = Cost(limits.max_rows, [Timing(one, one) for one in seconds])
    return Batcher("m", run, limits, metrics or run_metrics(), cost)


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
    batcher = batcher_of(model.run)
    jobs = [Job() for _ in range(9)]
    for turn in range(3):
        for n in range(3 * turn, 3 * turn + 3):
            batcher.add((n,), jobs[n])
        await asyncio.sleep(0)
    await asyncio.gather(*(job.outcome for job in jobs))
    assert model.batches == [list(range(9))]


@pytest.mark.asyncio
async def test_a_single_caller_waits_for_no_one() -> None:
    model = Model()
    batcher = batcher_of(model.run)
    job = Job()
    batcher.add((1,), job)
    await asyncio.sleep(0)
    assert model.batches == [[1]]
    assert job.outcome.done()


@pytest.mark.asyncio
async def test_rows_do_not_wait_for_ever_while_others_come() -> None:
    model = Model()
    most = 100_000
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


class FixedCost(Cost):
    """A cost that learns nothing: a busy machine must not change where runs happen."""

    def observe(self, rows: int, timing: Timing, is_in_line: bool) -> None:
        pass


@pytest.mark.asyncio
async def test_a_turn_runs_no_more_than_the_loop_may_wait() -> None:
    model = Model()

    def slow(rows: Sequence[Row]) -> list[bytes]:
        time.sleep(EXPENSIVE_SECONDS)
        return model.run(rows)

    cost = FixedCost(2, [Timing(0.0, 0.0)])
    batcher = Batcher("m", slow, BatchLimits(2, 0, 100), run_metrics(), cost)
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
async def test_an_expensive_run_yields_while_the_loop_is_behind() -> None:
    model = Model()
    batcher = batcher_of(model.run, seconds=1.0)
    job = Job()
    batcher.add((1,), job)
    assert await _long_turns(lambda: model.batches, 50) == 50
    assert await job.outcome == b"2"
    batcher.close()


@pytest.mark.asyncio
async def test_an_expensive_run_starts_before_its_rows_have_waited_too_long() -> None:
    model = Model()
    limits = BatchLimits(64, 0, 100, queued_seconds=0.05)
    batcher = batcher_of(model.run, limits, seconds=10.0)
    job = Job()
    batcher.add((1,), job)
    assert 1 < await _long_turns(lambda: model.batches, 1000) <= 25
    assert await job.outcome == b"2"
    batcher.close()


@pytest.mark.asyncio
async def test_an_expensive_run_starts_with_the_first_short_turn() -> None:
    model = Model()
    batcher = batcher_of(model.run, seconds=1.0)
    job = Job()
    batcher.add((1,), job)
    await _long_turns(lambda: False, 10)
    assert not model.batches
    await asyncio.wait_for(job.outcome, 10)  # of the 20 s that it may wait
    batcher.close()


@pytest.mark.asyncio
async def test_an_expensive_run_does_not_yield_for_ever() -> None:
    model = Model()
    batcher = batcher_of(model.run, seconds=2 * EXPENSIVE_SECONDS)
    job = Job()
    batcher.add((1,), job)
    assert 1 < await _long_turns(lambda: model.batches, 100_000) < 100_000
    assert await job.outcome == b"2"
    batcher.close()


@pytest.mark.asyncio
async def test_an_expensive_run_lingers_where_more_rows_have_arrived() -> None:
    model = Model()
    go = threading.Event()

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
    metrics = run_metrics()
    batcher = batcher_of(Model().run, seconds=seconds, metrics=metrics)
    await outcomes(batcher, [1, 13, 3])
    await outcomes(batcher, [4, 5])
    batcher.close()
    assert metrics.runs.n == sum(metrics.seconds.counts) == 6
    assert metrics.failures.n == 3  # of the three rows, of two, and of the bad one
    assert metrics.rows.sums.total == 3 + 1 + 2 + 1 + 1 + 2


@pytest.mark.asyncio
async def test_an_unexpected_exception_is_an_outcome_too() -> None:
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
async def test_rows_that_would_wait_too_long_are_shed_at_once() -> None:
    batcher = batcher_of(Model().run, BatchLimits(2, 0, 100, 2.0), 1.0)
    for _ in range(5):  # a new row would run in the third run: after two seconds
        assert batcher.has_room(100 - len(batcher))
        batcher.add((1,), Job())
    assert not batcher.has_room(1, seconds=1.9)
    assert batcher.has_room(0, seconds=1.9)  # a request that joins flights
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
async def test_retry_after_is_the_time_that_the_queue_takes_to_run(
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
async def test_abandoned_rows_use_no_place_in_a_run() -> None:
    model = Model()
    jobs = [Job() for _ in range(8)]
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
async def test_a_full_queue_makes_room_by_dropping_abandoned_rows() -> None:
    batcher = batcher_of(Model().run, BatchLimits(64, 0, 3))
    jobs = [Job() for _ in range(3)]
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
async def test_an_expensive_model_runs_in_a_thread_and_rows_gather_meanwhile() -> None:
    model = Model()
    started = threading.Event()
    go = threading.Event()

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


class EndedTurns:
    """Turns that end when the test says so."""

    def __init__(self) -> None:
        self.brought = 0
        self._callbacks: list[Callable[[], None]] = []

    def call_at_end(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    def end(self) -> None:
        callbacks = self._callbacks
        self._callbacks = []
        for callback in callbacks:
            callback()


@pytest.mark.asyncio
async def test_rows_run_at_the_end_of_the_first_turn_that_brings_none() -> None:
    model = Model()
    turns = EndedTurns()
    cost = FixedCost(8, [Timing(0.0, 0.0)])
    batcher = Batcher(
        "m", model.run, BatchLimits(8, 0, 100), run_metrics(), cost, turns
    )
    jobs = [Job() for _ in range(3)]
    batcher.add((1,), jobs[0])
    batcher.add((2,), jobs[1])
    turns.end()
    assert not model.batches
    batcher.add((3,), jobs[2])
    turns.end()
    assert not model.batches
    turns.end()
    assert model.batches == [[1, 2, 3]]
    assert all(job.outcome.done() for job in jobs)
    batcher.add((4,), Job())
    turns.brought = 2  # hits: others may follow
    turns.end()
    turns.brought = 0
    turns.end()
    assert model.batches == [[1, 2, 3], [4]]


@pytest.mark.asyncio
async def test_a_job_that_raises_keeps_no_other_waiting(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Bad(Job):
        def complete(self, outcome: RowResult) -> None:
            raise ZeroDivisionError("oops")

    batcher = batcher_of(Model().run)
    good = Job()
    batcher.add((1,), Bad())
    batcher.add((2,), good)
    assert await good.outcome == b"4"
    assert "model m: a job raised when it was completed" in caplog.text


class Gated:
    """A model whose runs wait, each for its own turn; 13 is rejected."""

    def __init__(self) -> None:
        self.model = Model()
        self._gates: dict[Any, threading.Event] = {}
        self._lock = threading.Lock()

    def run(self, rows: Sequence[Row]) -> list[bytes]:
        with self._lock:
            gate = self._gates.setdefault(rows[0][0], threading.Event())
        assert gate.wait(60)
        return self.model.run(rows)

    def open(self, value: int) -> None:
        """Let the run whose first row this is go on."""
        with self._lock:
            self._gates.setdefault(value, threading.Event()).set()

    @property
    def started(self) -> list[Any]:
        """The first rows of the runs so far, sorted."""
        with self._lock:
            return sorted(self._gates)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def several_runs(gated: Gated, rows: int, runs: int = 2) -> tuple[Batcher, RunMetrics]:
    """A batcher of that many rows a run, all of them expensive."""
    cost = FixedCost(rows, [Timing(float(n), float(n)) for n in batch_sizes(rows)])
    metrics = run_metrics()
    limits = BatchLimits(rows, 0, 100, runs=runs)
    return Batcher("m", gated.run, limits, metrics, cost), metrics


@pytest.mark.asyncio
async def test_runs_go_on_at_once_and_end_in_any_order() -> None:
    gated = Gated()
    batcher, metrics = several_runs(gated, 1)
    jobs = [Job() for _ in range(3)]
    for value, job in enumerate(jobs):
        batcher.add((value,), job)
    await _until(lambda: gated.started == [0, 1])
    assert len(batcher) == 1
    gated.open(1)
    assert await jobs[1].outcome == b"2"
    await _until(lambda: gated.started == [0, 1, 2])
    gated.open(2)
    assert await jobs[2].outcome == b"4"
    assert not jobs[0].outcome.done()
    gated.open(0)
    assert await jobs[0].outcome == b"0"
    assert (metrics.runs.n, metrics.overlapping.n) == (3, 2)
    batcher.close()


@pytest.mark.asyncio
async def test_a_row_that_comes_while_a_thread_is_idle_runs_at_once() -> None:
    gated = Gated()
    batcher, _ = several_runs(gated, 4)
    first, second = Job(), Job()
    batcher.add((1,), first)
    await _until(lambda: gated.started == [1])
    batcher.add((2,), second)
    await _until(lambda: gated.started == [1, 2])
    for value in (2, 1):
        gated.open(value)
    assert [await job.outcome for job in (second, first)] == [b"4", b"2"]
    batcher.close()


@pytest.mark.asyncio
async def test_no_more_runs_go_on_than_the_limit_and_rows_gather_meanwhile() -> None:
    gated = Gated()
    batcher, _ = several_runs(gated, 4)
    first = asyncio.create_task(outcomes(batcher, [1, 2]))
    await _until(lambda: gated.started == [1, 2])  # one row for each thread
    rest = asyncio.create_task(outcomes(batcher, [3, 4]))
    await _until(lambda: len(batcher) == 2)
    for _ in range(5):
        await asyncio.sleep(0)
    assert gated.started == [1, 2]
    for value in (1, 3):
        gated.open(value)
    assert await rest == [b"6", b"8"]
    gated.open(2)
    assert await first == [b"2", b"4"]
    assert gated.model.batches == [[1], [3, 4], [2]]
    batcher.close()


@pytest.mark.asyncio
async def test_the_halves_of_a_rejected_run_need_not_wait_for_the_other_run() -> None:
    gated = Gated()
    batcher, metrics = several_runs(gated, 2)
    slow = Job()
    batcher.add((1,), slow)
    await _until(lambda: gated.started == [1])
    for value in (2, 13):
        gated.open(value)
    good, bad = await outcomes(batcher, [2, 13])
    assert good == b"4"
    assert isinstance(bad, RunFailed)
    assert not slow.outcome.done()
    gated.open(1)
    assert await slow.outcome == b"2"
    assert metrics.failures.n == 2
    batcher.close()


@pytest.mark.asyncio
async def test_abandoned_rows_do_not_run_when_a_thread_becomes_idle() -> None:
    gated = Gated()
    batcher, _ = several_runs(gated, 1)
    running = asyncio.create_task(outcomes(batcher, [1, 2]))
    await _until(lambda: gated.started == [1, 2])
    late = Job()
    batcher.add((3,), late)
    late.deadline = 0.0
    gated.open(1)
    assert isinstance(await late.outcome, DeadlineExceeded)
    gated.open(2)
    assert await running == [b"2", b"4"]
    assert gated.started == [1, 2]
    batcher.close()


@pytest.mark.asyncio
async def test_rows_wait_half_as_long_for_two_runs_at_once() -> None:
    waits = []
    for runs in (1, 2):
        batcher, _ = several_runs(Gated(), 2, runs)
        for value in range(8):
            batcher.add((value,), Job())
        seconds = [n / 2 for n in range(40) if batcher.has_room(1, n / 2)]
        waits.append(seconds[0])
        await asyncio.sleep(0)
        batcher.close()
    assert waits == [8.0, 4.0]


@pytest.mark.asyncio
async def test_a_run_that_takes_too_long_is_given_up() -> None:
    go_on = threading.Event()

    def run(rows: Sequence[Row]) -> list[bytes]:
        assert rows != [(1,)] or go_on.wait(60)
        return [str(row[0]).encode() for row in rows]

    batcher = batcher_of(run, 1, seconds=1.0)
    late = Job()
    waiting = Job()
    later = Job()
    batcher.add((1,), late)
    while not batcher.is_busy:
        await asyncio.sleep(0)
    batcher.add((2,), waiting)
    outlasted = RunFailed("too long")
    refusal = Overloaded("m", 0)
    assert not batcher.give_up(60, outlasted, refusal)
    assert batcher.give_up(0, outlasted, refusal) == [[((1,), late)]]
    assert not batcher.give_up(0, outlasted, refusal)
    assert late.outcome.result() is outlasted
    assert waiting.outcome.result() is refusal
    assert batcher.has_given_up
    assert batcher.shortage(1) is refusal
    with pytest.raises(Overloaded):
        batcher.check_room(1)
    go_on.set()
    while batcher.has_given_up:
        await asyncio.sleep(0.01)
    assert batcher.shortage(1) is None
    batcher.add((3,), later)
    assert await asyncio.wait_for(later.outcome, 60) == b"3"
    batcher.close()
