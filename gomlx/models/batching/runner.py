"""Runs batches: cheap ones in line, expensive ones in threads.

    batch ──► in line ─────► Run ──► jobs complete, row by row
        └───► in threads ───┘  └──► rejected: both halves run again

A batch that finds several idle threads is spread over them.

It knows no queue: what runs next, and when, is decided elsewhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

from gomlx.contract.halving import halves
from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError
from gomlx.models.batching.cost import Cost
from gomlx.models.batching.run import Complete, JobBatch, Run, RunMetrics
from gomlx.models.batching.threads import Threads, spread


class Attempt(Protocol):
    """Runs rows together."""

    def __call__(self, rows: Sequence[Row], reads_cpu: bool = True, /) -> Run:
        """Return what has come of it; reads_cpu: and its CPU time."""


@dataclass(eq=False)
class UnderWay:
    """A run in a thread. is_given_up: its jobs know that it takes too long."""

    batch: JobBatch
    started: float
    is_given_up: bool = False


class Started(NamedTuple):
    """A batch that runs in a thread. Both must be passed to `Runner.finish`."""

    batch: JobBatch
    run: "asyncio.Future[Run]"


class Runner:
    """Runs batches, and learns what runs cost. For one thread.

    complete: called with the jobs of a batch and their outcomes. retry: called with the
    halves of a batch that TensorFlow rejects, so that a bad row fails alone.
    """

    def __init__(
        self,
        attempt: Attempt,
        threads: Threads,
        cost: Cost,
        metrics: RunMetrics,
        complete: Complete,
        retry: Callable[[Sequence[JobBatch]], None],
    ) -> None:
        self.last_rows = 0
        self.last_row: Row | None = None  # one of those that ran last
        self._attempt = attempt
        self._threads = threads
        self._cost = cost
        self._metrics = metrics
        self._complete = complete
        self._retry = retry
        self._under_way: list[UnderWay] = []

    @property
    def has_given_up(self) -> bool:
        """Whether a run is under way that takes too long."""
        return any(one.is_given_up for one in self._under_way)

    def run(self, batch: JobBatch) -> Sequence[Started]:
        """Run a batch in line, or start it in idle threads and return its parts.

        At least one thread must be idle.
        """
        count = self._cost.rows_of(batch)
        if self._cost.is_expensive(count):
            parts = spread(batch, self._threads.idle, self._cost.estimate)
            return [self._start(list(part)) for part in parts]
        rows = [row for row, _ in batch]
        is_due = self._cost.is_due(count, perf_counter())
        self._end(batch, count, self._attempt(rows, is_due), True, is_due)
        return ()

    def finish(self, batch: JobBatch, run: Run) -> None:
        """End a run that was started in a thread."""
        self._threads.release()
        one = next(one for one in self._under_way if one.batch is batch)
        self._under_way.remove(one)
        if not one.is_given_up:
            self._end(batch, self._cost.rows_of(batch), run, False, True)

    def give_up(self, started_before: float, error: GomlxError) -> list[JobBatch]:
        """Complete the jobs of runs that began so early, and return their batches.

        The runs go on: their threads cannot be stopped.
        """
        late = [
            one
            for one in self._under_way
            if one.started < started_before and not one.is_given_up
        ]
        for one in late:
            one.is_given_up = True
            self._complete(one.batch, [error] * len(one.batch))
        return [one.batch for one in late]

    def _start(self, batch: JobBatch) -> Started:
        self._metrics.overlapping.n += self._threads.busy > 0
        rows = [row for row, _ in batch]
        self._under_way.append(UnderWay(batch, perf_counter()))
        return Started(batch, self._threads.start(self._attempt, rows))

    def _end(
        self, batch: JobBatch, rows: int, run: Run, is_in_line: bool, is_due: bool
    ) -> None:
        self.last_rows = rows
        self.last_row = batch[0][0]
        metrics = self._metrics
        wall = run.timing.wall
        metrics.runs.n += 1
        metrics.failures.n += run.has_failed
        metrics.seconds.add(wall)
        metrics.rows.add(rows)
        if is_due and (not run.has_failed or wall > self._cost.estimate(rows)):
            self._cost.observe(rows, run.timing, is_in_line)
        if run.is_rejected and len(batch) > 1:
            self._retry(halves(batch))
        else:
            self._complete(batch, run.outcomes)
