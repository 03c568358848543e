"""Where a batch runs, what is learned from it, and what becomes of its rows."""

import asyncio
import threading
from collections.abc import Sequence
from math import inf

import pytest

from gomlx.contract.tensor import Row
from gomlx.errors import RunFailed
from gomlx.metrics.declarations import ROWS, SECONDS
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.batching.cost import Cost, Timing
from gomlx.models.batching.run import JobBatch, Run, RunMetrics
from gomlx.models.batching.runner import Runner
from gomlx.models.batching.threads import Threads
from tests.models.batching.jobs import Job, complete, numbers

CHEAP = Timing(0.0001, 0.0001)
EXPENSIVE = Timing(0.1, 0.1)


class Model:
    """Answers with what a test says, and records the threads of its runs."""

    def __init__(self, *runs: Run) -> None:
        self._runs = list(runs)
        self.threads: list[int] = []
        self.read_cpu: list[bool] = []

    def attempt(self, rows: Sequence[Row], reads_cpu: bool = True) -> Run:
        self.threads.append(threading.get_ident())
        self.read_cpu.append(reads_cpu)
        return self._runs.pop(0)


class Parts:
    """A runner and what it is given."""

    def __init__(self, model: Model, timing: Timing = CHEAP) -> None:
        self.cost = Cost(64, [timing] * 7)
        self.metrics = RunMetrics(
            Counter(), Counter(), Histogram(SECONDS), Histogram(ROWS), Counter()
        )
        self.retried: list[JobBatch] = []
        self.threads = Threads("m", 1)
        self.runner = Runner(
            model.attempt,
            self.threads,
            self.cost,
            self.metrics,
            complete,
            self.retried.extend,
        )


def batch_of(rows: int) -> tuple[JobBatch, list[Job]]:
    jobs = [Job() for _ in range(rows)]
    return [((float(i),), job) for i, job in enumerate(jobs)], jobs


def rejected(rows: int, timing: Timing = CHEAP) -> Run:
    return Run([RunFailed("bad")] * rows, timing, True, True)


def test_a_cheap_batch_runs_in_line() -> None:
    model = Model(Run([b"1", b"2"], CHEAP, False, False))
    parts = Parts(model)
    batch, jobs = batch_of(2)
    assert not parts.runner.run(batch)
    assert [job.outcomes for job in jobs] == [[b"1"], [b"2"]]
    assert model.threads == [threading.get_ident()]
    assert parts.runner.last_rows == 2


@pytest.mark.asyncio
async def test_an_expensive_batch_runs_in_a_thread() -> None:
    model = Model(Run([b"1"], EXPENSIVE, False, False))
    parts = Parts(model, EXPENSIVE)
    batch, jobs = batch_of(1)
    (started,) = parts.runner.run(batch)
    run = await asyncio.wait_for(started.run, 60)
    assert not jobs[0].outcomes
    parts.runner.finish(started.batch, run)
    assert jobs[0].outcomes == [b"1"]
    assert model.threads != [threading.get_ident()]
    parts.threads.close()


def test_a_rejected_batch_runs_again_in_halves() -> None:
    parts = Parts(Model(rejected(5)))
    batch, jobs = batch_of(5)
    parts.runner.run(batch)
    assert [numbers(half) for half in parts.retried] == [[0.0, 1.0], [2.0, 3.0, 4.0]]
    assert not any(job.outcomes for job in jobs)


def test_a_rejected_row_fails() -> None:
    parts = Parts(Model(rejected(1)))
    batch, jobs = batch_of(1)
    parts.runner.run(batch)
    assert not parts.retried
    assert isinstance(jobs[0].outcomes[0], RunFailed)


def test_a_bug_fails_all_rows_at_once() -> None:
    failed = RunFailed("a bug")
    parts = Parts(Model(Run([failed, failed], CHEAP, True, False)))
    batch, jobs = batch_of(2)
    parts.runner.run(batch)
    assert not parts.retried
    assert [job.outcomes for job in jobs] == [[failed], [failed]]


def test_runs_are_counted() -> None:
    parts = Parts(Model(Run([b"1"] * 3, CHEAP, False, False), rejected(2)))
    parts.runner.run(batch_of(3)[0])
    parts.runner.run(batch_of(2)[0])
    metrics = parts.metrics
    assert (metrics.runs.n, metrics.failures.n) == (2, 1)
    assert metrics.rows.sums.total == 5
    assert metrics.seconds.sums.total == pytest.approx(0.0002)


def test_a_run_that_fails_early_says_nothing_about_cost() -> None:
    quick = Timing(0.0, 0.0)
    failing = Parts(Model(rejected(1, quick)))
    before = failing.cost.estimate(1)
    failing.runner.run(batch_of(1)[0])
    assert failing.cost.estimate(1) == before
    other = Parts(Model(Run([b"1"], quick, False, False)))
    other.runner.run(batch_of(1)[0])
    assert other.cost.estimate(1) < before


def test_of_runs_of_one_size_in_a_moment_one_is_observed() -> None:
    quick = Timing(0.0, 0.0)
    model = Model(*[Run([b"1"] * n, quick, False, False) for n in (1, 2, 1)])
    parts = Parts(model)
    parts.cost.is_due(1, inf)  # the moment does not end
    before = parts.cost.estimate(1)
    parts.runner.run(batch_of(1)[0])
    assert parts.cost.estimate(1) == before
    assert parts.metrics.runs.n == 1
    parts.runner.run(batch_of(2)[0])
    parts.runner.run(batch_of(1)[0])
    assert parts.cost.estimate(2) < before
    assert model.read_cpu == [False, True, False]


@pytest.mark.asyncio
async def test_every_run_in_a_thread_is_observed() -> None:
    model = Model(Run([b"1"], CHEAP, False, False))
    parts = Parts(model, EXPENSIVE)
    parts.cost.is_due(1, inf)
    (started,) = parts.runner.run(batch_of(1)[0])
    parts.runner.finish(started.batch, await asyncio.wait_for(started.run, 60))
    assert parts.cost.estimate(1) < EXPENSIVE.wall
    assert model.read_cpu == [True]
    parts.threads.close()


def test_a_run_that_fails_late_counts() -> None:
    parts = Parts(Model(rejected(1, EXPENSIVE)))
    parts.runner.run(batch_of(1)[0])
    assert parts.cost.is_expensive(1)
