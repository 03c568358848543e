"""Runs batches: cheap ones in line, expensive ones in a thread.

    batch ──► in line ─────► Run ──► jobs complete, row by row
        └───► in a thread ──┘  └──► rejected: both halves run again

It knows no queue: what runs next, and when, is decided elsewhere.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor

from gomlx.contract.halving import halves
from gomlx.contract.tensor import Row
from gomlx.models.batching.cost import Cost
from gomlx.models.batching.run import Complete, JobBatch, Run, RunMetrics

Attempt = Callable[[Sequence[Row]], Run]


class Runner:
    """Runs one batch at a time, and learns what runs cost. For one thread.

    complete: called with the jobs of a batch and their outcomes. retry: called with the
    halves of a batch that TensorFlow rejects, so that a bad row fails alone.
    """

    def __init__(
        self,
        attempt: Attempt,
        executor: Executor,
        cost: Cost,
        metrics: RunMetrics,
        complete: Complete,
        retry: Callable[[Sequence[JobBatch]], None],
    ) -> None:
        self.last_rows = 0
        self._attempt = attempt
        self._executor = executor
        self._cost = cost
        self._metrics = metrics
        self._complete = complete
        self._retry = retry
        self._in_thread: JobBatch = []

    def run(self, batch: JobBatch) -> "asyncio.Future[Run] | None":
        """Run a batch in line, or start it in the thread and return its future.

        What the future returns must be passed to `finish`.
        """
        rows = [row for row, _ in batch]
        if self._cost.is_expensive(self._cost.rows_of(batch)):
            self._in_thread = batch
            loop = asyncio.get_running_loop()
            return loop.run_in_executor(self._executor, self._attempt, rows)
        self._end(batch, self._attempt(rows), True)
        return None

    def finish(self, run: Run) -> None:
        """End the run that was started in the thread."""
        batch = self._in_thread
        self._in_thread = []
        self._end(batch, run, False)

    def _end(self, batch: JobBatch, run: Run, is_in_line: bool) -> None:
        rows = self._cost.rows_of(batch)
        self.last_rows = rows
        self._metrics.observe(run, rows)
        if not run.has_failed or run.timing.wall > self._cost.estimate(rows):
            self._cost.observe(rows, run.timing, is_in_line)
        if run.is_rejected and len(batch) > 1:
            self._retry(halves(batch))
        else:
            self._complete(batch, run.outcomes)
