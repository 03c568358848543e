"""Joins the rows of concurrent requests into runs.

    add ─► queue ─► end of a turn ─► pop ─► run, in line or in threads ─► complete
           (queue.py)  (schedule.py)          (runner.py)  │
              ▲  └► shed: no room                          └► rejected: in halves
              └────────────────────────────────────────────────┘

The queue sheds and drops, the schedule decides when a run starts, the runner runs. Only
the batcher knows the event loop: it calls the schedule turn by turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from time import perf_counter
from typing import NamedTuple

from gomlx.contract.tensor import Row
from gomlx.errors import Overloaded
from gomlx.models.batching.cost import Cost
from gomlx.models.batching.linger import Linger
from gomlx.models.batching.queue import BatchLimits, RowQueue
from gomlx.models.batching.run import (
    Job,
    JobBatch,
    Run,
    RunMetrics,
    attempt,
    complete_jobs,
)
from gomlx.models.batching.runner import Runner
from gomlx.models.batching.schedule import (
    GATHERING,
    IDLE,
    LINGERING,
    RUNNING,
    Schedule,
)
from gomlx.models.batching.threads import Threads
from gomlx.models.batching.turns import LoopTurns, Turns


class _Counting(NamedTuple):
    """The rows that arrive until a timer ends. added_before: how many there were."""

    timer: asyncio.TimerHandle
    added_before: int


class Batcher:
    """The queue, the schedule and the runner of one version.

    run: rows → their answers. cost: what runs take. For one thread: the event loop's.
    """

    def __init__(
        self,
        name: str,
        run: Callable[[Sequence[Row]], list[bytes]],
        limits: BatchLimits,
        metrics: RunMetrics,
        cost: Cost,
        turns: Turns | None = None,
    ) -> None:
        self.cost = cost
        complete = partial(complete_jobs, name)
        self._turns = turns or LoopTurns()
        self._queue = RowQueue(name, limits, cost, complete)
        # PERF: rows are added, and mostly admitted, without a call of the queue.
        self._rows = self._queue.rows
        self._surely_fits = min(limits.max_rows, limits.max_queued_rows)
        self._linger = Linger(limits.linger_seconds)
        self._schedule = Schedule(limits, cost, self._linger)
        self._threads = Threads(name, limits.runs)
        self._runner = Runner(
            partial(attempt, name, run),
            self._threads,
            cost,
            metrics,
            complete,
            self._queue.retry,
        )
        self._counting: _Counting | None = None

    def __len__(self) -> int:
        return len(self._rows)

    def has_room(self, rows: int = 1, seconds: float = inf) -> bool:
        """Return whether rows can be added, and start to run within that time."""
        return self._queue.has_room(rows, seconds)

    def shortage(self, rows: int, seconds: float = inf) -> Overloaded | None:
        """Return the error where `has_room` is false, after dropping abandoned rows.

        It is not to be raised: others get it, too.
        """
        if len(self._rows) + rows > self._surely_fits:
            return self._queue.shortage(rows, seconds)
        return None

    def check_room(self, rows: int, seconds: float = inf) -> None:
        """Raise Overloaded where there is a `shortage`."""
        error = self.shortage(rows, seconds)
        if error is not None:
            raise Overloaded.from_message(str(error), error.retry_after)

    def add(self, row: Row, job: Job) -> None:
        """Have a row run, and the job completed with its answer or an error."""
        rows = self._rows
        rows.append((row, job))
        if len(rows) >= self._schedule.wakes_at:
            self._wake()

    def note_abandoned(self) -> None:
        """Note that a caller has given up: its rows need not keep others out."""
        self._queue.note_abandoned()

    def close(self) -> None:
        """Release the threads; the queue must be empty."""
        self._threads.close()

    def _wake(self) -> None:
        if self._schedule.wake() is GATHERING:
            self._turns.call_at_end(self._turn)
        else:  # it lingered, and the run is full
            self._cancel_timer()
            self._turns.call_at_end(self._run)

    def _turn(self) -> None:
        """Run what waits, or wait for another turn or for the end of the linger."""
        if self._queue.retries:
            self._start()
            return
        state = self._schedule.turn(len(self._rows), self._turns.brought)
        if state is RUNNING:
            self._run()
            if self._linger.seconds and self._schedule.state is RUNNING:  # in threads
                self._count_arrivals()
        elif state is LINGERING:
            self._count_arrivals()
        else:
            self._turns.call_at_end(self._turn)

    def _start(self) -> None:
        self._schedule.start()
        self._run()

    def _run(self) -> None:
        """Run what waits, for as long as the loop may be kept from its other work."""
        queue = self._queue
        started = perf_counter()
        now = started
        while batch := queue.pop(now):
            parts = self._runner.run(batch)
            for part, run in parts:
                run.add_done_callback(partial(self._returned, part))
            if parts and not self._threads.idle:
                return  # RUNNING until one returns
            if not self._rows and not queue.retries:
                break
            now = perf_counter()
            next_rows = queue.next_rows()
            if not parts and not self._schedule.has_time(next_rows, now - started):
                break
        self._end()

    def _returned(self, batch: JobBatch, run: "asyncio.Future[Run]") -> None:
        """A run in a thread has ended."""
        was_full = not self._threads.idle
        if was_full:
            self._stop_counting()  # before its callers are answered, and add more rows
        self._runner.finish(batch, run.result())
        if was_full:
            self._end()
        elif self._queue.retries and self._schedule.state in (IDLE, LINGERING):
            self._wake()

    def _end(self) -> None:
        has_more = bool(self._rows or self._queue.retries)
        self._schedule.end(self._runner.last_rows, has_more)
        if has_more:  # in a turn of its own: the loop does its other work first
            self._turns.call_at_end(self._turn)

    # --- the rows that arrive in the time of a linger, whether a run lingers or not ---

    def _count_arrivals(self) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._linger.seconds, self._timed_out)
        self._counting = _Counting(timer, self._queue.added)

    def _timed_out(self) -> None:
        self._stop_counting()
        if self._schedule.state is LINGERING:
            self._start()

    def _stop_counting(self) -> None:
        """Learn how many rows have arrived; fewer when the run ended sooner."""
        counting = self._counting
        if counting:
            self._cancel_timer()
            self._linger.observe(self._queue.added - counting.added_before)

    def _cancel_timer(self) -> None:
        if self._counting:
            self._counting.timer.cancel()
            self._counting = None
