"""Joins rows of concurrent requests into runs.

Rows that are added in one turn of the event loop run together in the next: an idle
service waits for nobody, a busy one batches by itself. While each turn still brings
some, they go on gathering: the loop is not idle, but reads. Dear runs have a thread
(cost.py tells which), and what is added meanwhile forms the next run.

    add ─► queue ─► turn ─► run, in line or in the thread ─► land, row by row
                     │ └► rows that TensorFlow refuses run again by halves, first
                     ├► it brought more rows: the next turn may, too
                     ├► the loop is behind: dear runs wait, since hits come first
                     ├► it pays to wait for more rows (linger.py): a turn later on
                     └► nobody wants the row any more: it lands unrun
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import inf
from time import perf_counter
from typing import Protocol

from gomlx.contract.tensor import Row
from gomlx.errors import DeadlineExceeded, Overloaded
from gomlx.models.serving.cost import EXPENSIVE_SECONDS, Cost, Pace
from gomlx.models.serving.linger import Linger
from gomlx.models.serving.run import RowResult, Run, RunCounts, tried

log = logging.getLogger(__name__)

_SHORT_TURN_SECONDS = 0.0005  # of the loop: it is not behind
_YIELDS = 20  # times what a run takes, for the loop to catch up before it
_YIELDS_SHARE = 0.5  # of queued_seconds, at most


class Job(Protocol):
    """What a row is run for."""

    def is_awaited(self, now: float, /) -> bool:
        """Tell whether anybody still waits for it; now: of `perf_counter`."""

    def complete(self, outcome: RowResult, /) -> None:
        """Take the answer, or what went wrong."""


_Batch = list[tuple[Row, Job]]


@dataclass(frozen=True)
class BatchLimits:
    """What bounds a model's runs and its queue.

    queued_seconds: how long the rows that a new one would wait for may take to run.
    """

    max_rows: int
    linger_seconds: float
    max_queued_rows: int
    queued_seconds: float = inf


class Batcher:
    """The queue of one version. For one thread: the event loop's."""

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Row]], list[bytes]],
        limits: BatchLimits,
        counts: RunCounts,
        cost: Cost,
    ) -> None:
        self.when_completed: Callable[[], None] = _nothing  # rows that ran together
        self._name, self._run, self._limits = name, run, limits
        self._counts, self._cost, self._pace = counts, cost, Pace()
        self._next_run = min(limits.max_rows, limits.max_queued_rows)
        self._queue: deque[tuple[Row, Job]] = deque()
        self._halves: list[_Batch] = []  # of refused runs; the last one is next
        self._has_unwanted = False  # the queue may hold rows that nobody waits for
        self._is_due = False  # a turn is scheduled, or a run under way
        self._added = 0  # rows, ever
        self._seen = 0  # rows that waited a turn ago
        self._ran = 0  # rows, together, the last time
        self._gathers_until = 0.0
        self._turn_began = self._yields_until = 0.0
        self._linger = Linger(limits.linger_seconds)
        self._waiting: asyncio.TimerHandle | None = None  # for more rows
        self._watch: asyncio.TimerHandle | None = None  # how many come
        self._before = 0  # rows added before that
        self._thread: ThreadPoolExecutor | None = None

    def __len__(self) -> int:
        return len(self._queue)

    def has_room(self, rows: int = 1, seconds: float = inf) -> bool:
        """Tell whether so many rows can be added, and begin to run in time.

        What fits the next run is never too late.
        """
        limits, waiting = self._limits, len(self._queue)
        if not rows:
            return True
        if waiting + rows > limits.max_queued_rows:
            return False
        if waiting < limits.max_rows:
            return True
        return self._seconds_ahead() <= min(seconds, limits.queued_seconds)

    def check_room(self, rows: int, seconds: float = inf) -> None:
        """Raise Overloaded unless there is room, with or without what nobody wants."""
        if len(self._queue) + rows <= self._next_run:  # PERF: as nearly always
            return
        if self.has_room(rows, seconds):
            return
        if self._has_unwanted:
            self._drop_unwanted()
        if not self.has_room(rows, seconds):
            raise Overloaded(self._name, len(self._queue), self._seconds_ahead())

    def add(self, row: Row, job: Job) -> None:
        """Have a row run, and the job told of its answer or of what went wrong."""
        self._queue.append((row, job))
        self._added += 1
        if not self._is_due:
            self._is_due = True
            asyncio.get_running_loop().call_soon(self._turn)
        elif self._waiting and len(self._queue) >= self._limits.max_rows:
            self._waiting.cancel()
            self._waiting = None
            asyncio.get_running_loop().call_soon(self._run_queue)

    def note_abandoned(self) -> None:
        """Somebody does not wait any more: their rows need not keep others out."""
        self._has_unwanted = True

    def close(self) -> None:
        """Let go of the thread; the queue must be empty."""
        if self._thread:
            self._thread.shutdown(wait=False)

    def _seconds_ahead(self) -> float:
        """What the runs take that come before the one of a new row."""
        most = self._limits.max_rows
        runs = len(self._queue) // most
        return runs * self._cost.of(most) * self._pace.slowdown

    def _drop_unwanted(self) -> None:
        self._has_unwanted = False
        queue, self._queue = self._queue, deque()
        self._queue.extend(self._wanted(queue, len(queue)))

    def _wanted(self, waiting: deque[tuple[Row, Job]], most: int) -> _Batch:
        """Take so many rows that somebody wants; the others land unrun."""
        batch: _Batch = []
        unwanted = []
        now = perf_counter()
        while waiting and len(batch) < most:
            one = waiting.popleft()
            if one[1].is_awaited(now):
                batch.append(one)
            else:
                unwanted.append(one[1])
        if unwanted:
            self._complete((job, DeadlineExceeded.of(self._name)) for job in unwanted)
        return batch

    # --- one run after the other ---

    def _turn(self) -> None:
        """Run what waits now, or later if that pays."""
        if self._gathers():
            asyncio.get_running_loop().call_soon(self._turn)
        elif self._halves or not self._cost.is_expensive(self._next_rows()):
            self._run_queue()
        elif self._yields():
            asyncio.get_running_loop().call_soon(self._turn)
        elif self._linger.pays(len(self._queue), self._limits.max_rows, self._cost.of):
            self._waiting = self._moment(self._waited)
        else:
            if self._linger.seconds and not self._watch:
                self._watch = self._moment(self._watched)
            self._run_queue()

    def _gathers(self) -> bool:
        """Tell whether this turn has brought rows, so that the next may bring more.

        Who was answered together asks again together, but the loop reads what has
        arrived so far, turn by turn: half of 16 callers at a time. One caller alone
        waits for nobody.
        """
        before, self._seen = self._seen, len(self._queue)
        if self._halves or not before < self._seen < self._limits.max_rows:
            return False
        now = perf_counter()
        if not before:
            self._gathers_until = now + EXPENSIVE_SECONDS
        return now < self._gathers_until and max(self._seen, self._ran) > 1

    def _yields(self) -> bool:
        """Tell whether a dear run waits for the loop: its turns are long.

        The thread would take half of the core that the loop has not enough of, and
        hits would wait for it. That ends with the first short turn, and in any case
        before rows have waited for half of what they may.
        """
        now = perf_counter()
        took, self._turn_began = now - self._turn_began, now
        if not self._yields_until:
            run = self._cost.of(self._next_rows())
            most = self._limits.queued_seconds * _YIELDS_SHARE
            self._yields_until = now + min(_YIELDS * run, most)
            return True
        return took > _SHORT_TURN_SECONDS and now < self._yields_until

    def _moment(self, then: Callable[[], None]) -> asyncio.TimerHandle:
        self._before = self._added
        loop = asyncio.get_running_loop()
        return loop.call_later(self._linger.seconds, then)

    def _waited(self) -> None:
        self._waiting = None
        self._linger.add(self._added - self._before)
        self._run_queue()

    def _watched(self) -> None:
        """Learn how many rows came in a moment, or before the run had ended."""
        if self._watch:
            self._watch.cancel()
            self._watch = None
            self._linger.add(self._added - self._before)

    def _run_queue(self) -> None:
        """Run what waits, for as long as the loop may be kept from its other work."""
        self._seen, self._yields_until = 0, 0.0
        now = perf_counter()
        until = now + EXPENSIVE_SECONDS
        while batch := self._taken():
            self._pace.begins(now, self._cost.of(len(batch)), len(self._queue) > 0)
            if self._cost.is_expensive(len(batch)):
                self._start(batch)
                return
            self._ended(batch, tried(self._name, self._run, _rows(batch)), True)
            if not self._queue and not self._halves:
                break
            now = perf_counter()
            if now + self._cost.of(self._next_rows()) > until:
                break
        self._go_on()

    def _go_on(self) -> None:
        self._is_due = bool(self._queue or self._halves)
        if self._is_due:  # in a turn of its own: the loop must breathe
            asyncio.get_running_loop().call_soon(self._turn)
        else:
            self._pace.rests()

    def _taken(self) -> _Batch:
        """Take the rows of the next run."""
        waiting = deque(self._halves.pop()) if self._halves else self._queue
        return self._wanted(waiting, self._limits.max_rows)

    def _next_rows(self) -> int:
        waiting = len(self._halves[-1] if self._halves else self._queue)
        return max(1, min(waiting, self._limits.max_rows))

    def _start(self, batch: _Batch) -> None:
        """Run rows in the thread."""
        self._thread = self._thread or ThreadPoolExecutor(1, f"run-{self._name}")
        running = asyncio.get_running_loop().run_in_executor(
            self._thread, tried, self._name, self._run, _rows(batch)
        )
        running.add_done_callback(lambda task: self._back(batch, task.result()))

    def _back(self, batch: _Batch, run: Run) -> None:
        self._watched()  # who is answered now may ask again
        self._ended(batch, run, False)
        self._go_on()

    def _ended(self, batch: _Batch, run: Run, is_in_line: bool) -> None:
        """Learn from a run, and have its rows land, or run again."""
        self._ran = len(batch)
        self._counts.add(run)
        if not run.has_failed or run.spent.seconds > self._cost.of(len(batch)):
            self._cost.add(len(batch), run.spent, is_in_line)
        if run.is_refused and len(batch) > 1:  # a bad row fails alone
            middle = len(batch) // 2
            self._halves += [batch[middle:], batch[:middle]]
        else:
            jobs = (job for _, job in batch)
            self._complete(zip(jobs, run.outcomes, strict=True))

    def _complete(self, outcomes: Iterable[tuple[Job, RowResult]]) -> None:
        for job, outcome in outcomes:
            try:
                job.complete(outcome)
            except Exception:  # one caller's bug is not another's
                log.exception("model %s: a bug", self._name)
        self.when_completed()


def _nothing() -> None:
    """Nobody wants to know."""


def _rows(batch: _Batch) -> list[Row]:
    return [row for row, _ in batch]
