"""Joins rows of concurrent requests into runs.

Rows that are added in one turn of the event loop run together in the next: an idle
service waits for nobody, a busy one batches by itself. A model whose runs are dear
runs in a thread, and what is added meanwhile forms its next run.

    add ─► queue ─► (next turn, or after linger) ─► run ─► land, row by row
                                └► nobody wants the row any more: it lands unrun
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple, Protocol

from gomlx.contract.tensor import Row
from gomlx.errors import DeadlineExceeded, GomlxError, Overloaded, RunFailed
from gomlx.metrics import Count, Spread

log = logging.getLogger(__name__)

Outcome = bytes | GomlxError
# Longer runs would keep the event loop from its other requests; a thread costs about
# 0.1 ms a run. Back in line only well below, so that a model does not flap.
_DEAR_SECONDS = 0.005
_CHEAP_SECONDS = 0.002


class Job(Protocol):
    """What a row is run for."""

    def is_wanted(self, now: float, /) -> bool:
        """Tell whether anybody still waits for it; now: of `perf_counter`."""

    def land(self, outcome: Outcome, /) -> None:
        """Take the answer, or what went wrong."""


@dataclass(frozen=True)
class Limits:
    """What bounds a model's runs and its queue."""

    max_rows: int
    linger_seconds: float
    max_queued_rows: int


@dataclass(frozen=True)
class RunCounts:
    """What is counted about runs. For one thread: the event loop's."""

    runs: Count
    failures: Count
    seconds: Spread
    rows: Spread

    def add(self, run: "_Run") -> None:
        self.runs.n += 1
        self.failures.n += run.has_failed
        self.seconds.add(run.seconds)
        self.rows.add(run.rows)


class _Run(NamedTuple):
    """What became of one run."""

    rows: int
    seconds: float
    has_failed: bool
    is_refused: bool  # by TensorFlow, for what may be one row's fault


class Batcher:
    """The queue of one version. For one thread: the event loop's."""

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Row]], list[bytes]],
        limits: Limits,
        counts: RunCounts,
        seconds_per_run: float,
    ) -> None:
        self._name, self._run, self._limits, self._counts = name, run, limits, counts
        self._queue: deque[tuple[Row, Job]] = deque()
        self._has_unwanted = False  # the queue may hold rows that nobody waits for
        self._is_due = False  # a run is scheduled or under way
        self._linger: asyncio.TimerHandle | None = None
        self._seconds = seconds_per_run  # of the last few runs
        self._thread: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def check_room(self, rows: int) -> None:
        """Raise Overloaded unless so many rows can be added."""
        most = self._limits.max_queued_rows - rows
        if len(self._queue) > most and self._has_unwanted:
            self._drop_unwanted()
        if (waiting := len(self._queue)) > most:
            runs = waiting / self._limits.max_rows
            raise Overloaded(self._name, waiting, runs * self._seconds)

    def add(self, row: Row, job: Job) -> None:
        """Have a row run, and the job told of its answer or of what went wrong."""
        self._queue.append((row, job))
        if not self._is_due:
            self._is_due = True
            self._schedule()
        elif self._linger and len(self._queue) >= self._limits.max_rows:
            self._linger.cancel()
            self._linger = None
            asyncio.get_running_loop().call_soon(self._next)

    def has_unwanted(self) -> None:
        """Somebody does not wait any more: their rows need not keep others out."""
        self._has_unwanted = True

    def close(self) -> None:
        """Let go of the thread; the queue must be empty."""
        if self._thread:
            self._thread.shutdown(wait=False)

    def _schedule(self) -> None:
        loop, limits = asyncio.get_running_loop(), self._limits
        if limits.linger_seconds and limits.max_rows > 1:
            self._linger = loop.call_later(limits.linger_seconds, self._next)
        else:
            loop.call_soon(self._next)

    def _next(self) -> None:
        self._linger = None
        batch, unwanted = self._taken()
        self._land((job, DeadlineExceeded.of(self._name)) for job in unwanted)
        if not batch:
            self._go_on()
            return
        rows = [row for row, _ in batch]
        if not self._needs_thread():
            self._landed(batch, *self._outcomes(rows))
            return
        loop = asyncio.get_running_loop()
        self._thread = self._thread or ThreadPoolExecutor(1, f"run-{self._name}")
        done = loop.run_in_executor(self._thread, self._outcomes, rows)
        done.add_done_callback(lambda task: self._landed(batch, *task.result()))

    def _taken(self) -> tuple[list[tuple[Row, Job]], list[Job]]:
        """Take the rows of a run from the queue, and those that nobody wants."""
        batch: list[tuple[Row, Job]] = []
        unwanted = []
        now, queue, most = perf_counter(), self._queue, self._limits.max_rows
        while queue and len(batch) < most:
            one = queue.popleft()
            if one[1].is_wanted(now):
                batch.append(one)
            else:
                unwanted.append(one[1])
        return batch, unwanted

    def _drop_unwanted(self) -> None:
        self._has_unwanted = False
        now = perf_counter()
        queue, self._queue = self._queue, deque()
        unwanted = []
        for one in queue:
            if one[1].is_wanted(now):
                self._queue.append(one)
            else:
                unwanted.append(one[1])
        self._land((job, DeadlineExceeded.of(self._name)) for job in unwanted)

    def _landed(
        self, batch: list[tuple[Row, Job]], outcomes: list[Outcome], runs: list[_Run]
    ) -> None:
        self._seconds += (sum(run.seconds for run in runs) - self._seconds) / 8
        for run in runs:
            self._counts.add(run)
        jobs = (job for _, job in batch)
        self._land(zip(jobs, outcomes, strict=True))
        self._go_on()

    def _land(self, outcomes: Iterable[tuple[Job, Outcome]]) -> None:
        for job, outcome in outcomes:
            try:
                job.land(outcome)
            except Exception:  # one caller's bug is not another's
                log.exception("model %s: a bug", self._name)

    def _go_on(self) -> None:
        self._is_due = bool(self._queue)
        if self._is_due:  # in a turn of its own: the loop must breathe
            asyncio.get_running_loop().call_soon(self._next)

    def _outcomes(self, rows: list[Row]) -> tuple[list[Outcome], list[_Run]]:
        """Run rows together; if that fails, one by one: a bad row fails alone."""
        outcomes, run = self._tried(rows)
        if not run.is_refused or len(rows) == 1:
            return outcomes, [run]
        alone = [self._tried([row]) for row in rows]
        return [found[0] for found, _ in alone], [run, *(run for _, run in alone)]

    def _tried(self, rows: list[Row]) -> tuple[list[Outcome], _Run]:
        started = perf_counter()
        failed: RunFailed | None = None
        outcomes: list[Outcome] = []
        is_refused = False
        try:
            outcomes = list(self._run(rows))
        except RunFailed as error:
            failed, is_refused = error, True
        except Exception as error:
            failed = RunFailed(f"model {self._name!r}: {type(error).__name__}: {error}")
        if failed:
            outcomes = [failed] * len(rows)
        seconds = perf_counter() - started
        return outcomes, _Run(len(rows), seconds, failed is not None, is_refused)

    def _needs_thread(self) -> bool:
        limit = _CHEAP_SECONDS if self._thread else _DEAR_SECONDS
        return self._seconds > limit
