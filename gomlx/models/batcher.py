"""Joins rows of concurrent requests into runs.

Rows that are added in one turn of the event loop run together in the next: an idle
service waits for nobody, a busy one batches by itself. A model whose runs are dear
runs in a thread, and what is added meanwhile forms its next run.

    add ─► queue ─► (next turn, or after linger) ─► run ─► land, row by row
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter
from typing import NamedTuple

from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError, Overloaded, RunFailed
from gomlx.metrics import Count, Spread

log = logging.getLogger(__name__)

Outcome = bytes | GomlxError
Land = Callable[[Outcome], None]
# Longer runs would keep the event loop from its other requests; a thread costs about
# 0.1 ms a run. Back in line only well below, so that a model does not flap.
_DEAR_SECONDS = 0.005
_CHEAP_SECONDS = 0.002


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
        self._queue: deque[tuple[Row, Land]] = deque()
        self._is_due = False  # a run is scheduled or under way
        self._seconds = seconds_per_run  # of the last few runs
        self._thread: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def check_room(self, rows: int) -> None:
        """Raise Overloaded unless so many rows can be added."""
        if len(self._queue) + rows > self._limits.max_queued_rows:
            raise Overloaded(self._name, len(self._queue))

    def add(self, row: Row, land: Land) -> None:
        """Have a row run, and land called with its answer or what went wrong."""
        self._queue.append((row, land))
        if not self._is_due:
            self._is_due = True
            loop = asyncio.get_running_loop()
            if self._limits.linger_seconds:
                loop.call_later(self._limits.linger_seconds, self._next)
            else:
                loop.call_soon(self._next)

    def close(self) -> None:
        """Let go of the thread; the queue must be empty."""
        if self._thread:
            self._thread.shutdown(wait=False)

    def _next(self) -> None:
        size = min(len(self._queue), self._limits.max_rows)
        batch = [self._queue.popleft() for _ in range(size)]
        rows = [row for row, _ in batch]
        if not self._needs_thread():
            self._landed(batch, *self._outcomes(rows))
            return
        loop = asyncio.get_running_loop()
        self._thread = self._thread or ThreadPoolExecutor(1, f"run-{self._name}")
        done = loop.run_in_executor(self._thread, self._outcomes, rows)
        done.add_done_callback(lambda task: self._landed(batch, *task.result()))

    def _landed(
        self, batch: list[tuple[Row, Land]], outcomes: list[Outcome], runs: list[_Run]
    ) -> None:
        self._seconds += (sum(run.seconds for run in runs) - self._seconds) / 8
        for run in runs:
            self._counts.add(run)
        for (_, land), outcome in zip(batch, outcomes, strict=True):
            try:
                land(outcome)
            except Exception:  # one caller's bug is not another's
                log.exception("model %s: a bug", self._name)
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
