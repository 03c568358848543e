"""Batches by turn of the event loop; bad rows; shedding; dear models in a thread."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from math import inf
from typing import Any

import pytest

from gomlx.contract.tensor import Row
from gomlx.errors import DeadlineExceeded, Overloaded, RunFailed
from gomlx.metrics import ROWS, SECONDS, Count, Spread
from gomlx.models.batcher import Batcher, Limits, Outcome, RunCounts


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
        self.outcome: asyncio.Future[Outcome] = asyncio.Future()
        self.wanted_until = inf

    def is_wanted(self, now: float) -> bool:
        return self.wanted_until > now

    def land(self, outcome: Outcome) -> None:
        self.outcome.set_result(outcome)


def counts_of_runs() -> RunCounts:
    return RunCounts(Count(), Count(), Spread(SECONDS), Spread(ROWS))


def batcher_of(
    run: Callable[[Sequence[Row]], list[bytes]],
    max_rows: int = 64,
    linger: float = 0,
    queued: int = 100,
    seconds: float = 0.0,
    counts: RunCounts | None = None,
) -> Batcher:
    counts = counts or counts_of_runs()
    return Batcher("m", run, Limits(max_rows, linger, queued), counts, seconds)


async def outcomes(batcher: Batcher, values: Sequence[int]) -> list[Outcome]:
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
async def test_max_rows_is_exact() -> None:
    model = Model()
    await outcomes(batcher_of(model.run, max_rows=2), [1, 2, 3, 4, 5])
    assert model.batches == [[1, 2], [3, 4], [5]]


@pytest.mark.asyncio
async def test_a_linger_joins_rows_of_several_turns() -> None:
    model = Model()
    batcher = batcher_of(model.run, linger=0.05)
    first = asyncio.create_task(outcomes(batcher, [1]))
    await asyncio.sleep(0)
    await asyncio.gather(first, outcomes(batcher, [2]))
    assert model.batches == [[1, 2]]


@pytest.mark.asyncio
async def test_a_bad_row_fails_alone() -> None:
    found = await outcomes(batcher_of(Model().run), [1, 13, 3])
    assert found[0] == b"2"
    assert isinstance(found[1], RunFailed)
    assert found[2] == b"6"


@pytest.mark.parametrize("seconds", [0.0, 1.0], ids=["in line", "in a thread"])
@pytest.mark.asyncio
async def test_every_run_is_counted(seconds: float) -> None:
    counts = counts_of_runs()
    batcher = batcher_of(Model().run, seconds=seconds, counts=counts)
    await outcomes(batcher, [1, 13, 3])
    await outcomes(batcher, [4, 5])
    batcher.close()
    assert counts.runs.n == sum(counts.seconds.counts) == 5
    assert counts.failures.n == 2  # of the three rows, and of the bad one
    assert counts.rows.total == 3 + 1 + 1 + 1 + 2


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
    batcher = batcher_of(model.run, queued=2)
    for value in (1, 2):
        batcher.add((value,), Job())
    with pytest.raises(Overloaded, match="'m' has 2 rows waiting"):
        batcher.check_room(1)
    while len(batcher):
        await asyncio.sleep(0)
    batcher.check_room(2)
    with pytest.raises(Overloaded):
        batcher.check_room(3)


@pytest.mark.parametrize(
    ("seconds_per_run", "seconds"), [(0.0001, 1), (2.0, 9), (1000.0, 60)]
)
@pytest.mark.asyncio
async def test_those_who_are_shed_may_come_back_when_the_queue_has_run(
    seconds_per_run: float, seconds: int
) -> None:
    batcher = batcher_of(Model().run, max_rows=2, queued=9, seconds=seconds_per_run)
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
    batcher = batcher_of(model.run, max_rows=2)
    for value, job in enumerate(jobs):
        batcher.add((value,), job)
    for value in (0, 3, 4, 7):
        jobs[value].wanted_until = 0.0
    found = await asyncio.gather(*(job.outcome for job in jobs))
    assert model.batches == [[1, 2], [5, 6]]
    assert {type(found[value]) for value in (0, 3, 4, 7)} == {DeadlineExceeded}
    assert await outcomes(batcher, [9]) == [b"18"]


@pytest.mark.asyncio
async def test_a_full_queue_makes_room_by_dropping_what_nobody_wants() -> None:
    batcher, jobs = batcher_of(Model().run, queued=3), [Job() for _ in range(3)]
    for value, job in enumerate(jobs):
        batcher.add((value,), job)
    jobs[1].wanted_until = 0.0
    batcher.has_unwanted()
    batcher.check_room(1)
    assert isinstance(jobs[1].outcome.result(), DeadlineExceeded)
    with pytest.raises(Overloaded):
        batcher.check_room(2)
    assert [await jobs[value].outcome for value in (0, 2)] == [b"0", b"4"]


@pytest.mark.asyncio
async def test_a_run_that_is_full_lingers_no_longer() -> None:
    model = Model()
    batcher = batcher_of(model.run, max_rows=2, linger=1000)
    assert await outcomes(batcher, [1, 2]) == [b"2", b"4"]
    assert await outcomes(batcher_of(model.run, 1, 1000), [3]) == [b"6"]


@pytest.mark.asyncio
async def test_a_dear_model_runs_in_a_thread_and_gathers_meanwhile() -> None:
    model, started, go = Model(), threading.Event(), threading.Event()

    def slow(rows: Sequence[Row]) -> list[bytes]:
        started.set()
        assert go.wait(10)
        return model.run(rows)

    batcher = batcher_of(slow, seconds=1.0)
    first = asyncio.create_task(outcomes(batcher, [1]))
    await asyncio.to_thread(started.wait, 10)
    rest = [asyncio.create_task(outcomes(batcher, [n])) for n in (2, 3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(batcher) == 2
    go.set()
    await asyncio.gather(first, *rest)
    assert model.batches == [[1], [2, 3]]
    assert threading.get_ident() not in model.threads
    batcher.close()
