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

from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError
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


class _Arrivals:
    """Counts the rows that arrive in the time of a linger, whether a run waits or not.

    timed_out is called when that time has passed.
    """

    def __init__(
        self, linger: Linger, queue: RowQueue, timed_out: Callable[[], None]
    ) -> None:
        self.seconds = linger.seconds
        self._linger = linger
        self._queue = queue
        self._timed_out = timed_out
        self._timer: asyncio.TimerHandle | None = None
        self._added_before = 0

    def count(self) -> None:
        """Begin."""
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.seconds, self._timed_out)
        self._added_before = self._queue.added

    def stop(self) -> None:
        """Learn how many rows have arrived; fewer when the run ended sooner."""
        if self._timer:
            self.cancel()
            self._linger.observe(self._queue.added - self._added_before)

    def cancel(self) -> None:
        """Stop, and learn nothing."""
        if self._timer:
            self._timer.cancel()
            self._timer = None


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
        self._surely_fits = self._queue.surely_fits
        self._refusal: GomlxError | None = None  # of all rows, room or not
        linger = Linger(limits.linger_seconds)
        self._arrivals = _Arrivals(linger, self._queue, self._timed_out)
        self._schedule = Schedule(limits, cost, linger)
        self._threads = Threads(name, limits.runs)
        self._runner = Runner(
            partial(attempt, name, run),
            self._threads,
            cost,
            metrics,
            complete,
            self._queue.retry,
        )

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def seconds_ahead(self) -> float:
        """The seconds that the runs take before the one of a new row."""
        return self._queue.seconds_ahead()

    def has_room(self, rows: int = 1, seconds: float = inf) -> bool:
        """Return whether rows can be added, and start to run within that time."""
        return self._queue.has_room(rows, seconds)

    def shortage(self, rows: int, seconds: float = inf) -> GomlxError | None:
        """Return the error where `has_room` is false, after dropping abandoned rows.

        It is not to be raised: others get it, too.
        """
        if len(self._rows) + rows > self._surely_fits:
            return self._refusal or self._queue.shortage(rows, seconds)
        return None

    def check_room(self, rows: int, seconds: float = inf) -> None:
        """Raise the error where there is a `shortage`."""
        error = self.shortage(rows, seconds)
        if error is not None:
            raise type(error).from_message(str(error), error.retry_after)

    def add(self, row: Row, job: Job) -> None:
        """Have a row run, and the job completed with its answer or an error."""
        rows = self._rows
        rows.append((row, job))
        if len(rows) >= self._schedule.wakes_at:
            self._wake()

    def note_abandoned(self) -> None:
        """Note that a caller has given up: its rows need not keep others out."""
        self._queue.note_abandoned()

    def give_up(
        self, seconds: float, outlasted: GomlxError, refusal: GomlxError
    ) -> list[JobBatch]:
        """Give up the runs that have taken longer, and return their batches.

        Their jobs get the one error, those that wait or come while such a run goes on
        the other. No timer calls this: whoever watches the runs does.
        """
        late = self._runner.give_up(perf_counter() - seconds, outlasted)
        if late:
            self._surely_fits = 0
            self._refusal = refusal
            self._queue.refuse(refusal)
        return late

    @property
    def has_given_up(self) -> bool:
        """Whether a run goes on that was given up."""
        return self._refusal is not None

    @property
    def is_busy(self) -> bool:
        """Whether a run goes on in a thread."""
        return self._threads.busy > 0

    def take_row(self) -> Row | None:
        """Return a row that ran since the last call; None if none has."""
        row = self._runner.last_row
        self._runner.last_row = None
        return row

    def close(self) -> None:
        """Release the threads; the queue must be empty."""
        self._threads.close()

    def _wake(self) -> None:
        if self._schedule.wake() is GATHERING:
            self._turns.call_at_end(self._turn)
        else:  # it lingered, and the run is full
            self._arrivals.cancel()
            self._turns.call_at_end(self._run)

    def _turn(self) -> None:
        """Run what waits, or wait for another turn or for the end of the linger."""
        if self._queue.retries:
            self._start()
            return
        state = self._schedule.turn(len(self._rows), self._turns.brought)
        if state is RUNNING:
            self._run()
            if self._arrivals.seconds and self._schedule.state is RUNNING:  # in threads
                self._arrivals.count()
        elif state is LINGERING:
            self._arrivals.count()
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
            self._arrivals.stop()  # before its callers are answered, and add more rows
        self._runner.finish(batch, run.result())
        if self._refusal and not self._runner.has_given_up:
            self._surely_fits = self._queue.surely_fits
            self._refusal = None
        if was_full:
            self._end()
        elif self._queue.retries and self._schedule.state in (IDLE, LINGERING):
            self._wake()

    def _end(self) -> None:
        has_more = bool(self._rows or self._queue.retries)
        self._schedule.end(self._runner.last_rows, has_more)
        if has_more:  # in a turn of its own: the loop does its other work first
            self._turns.call_at_end(self._turn)

    def _timed_out(self) -> None:
        self._arrivals.stop()
        if self._schedule.state is LINGERING:
            self._start()
