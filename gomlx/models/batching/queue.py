"""The rows that wait for a run: admitted while there is room, shed when there is not.

Room has two limits: in rows, and in the seconds that the rows ahead take to run. Rows
that no caller waits for any more are dropped: on the way into a run, or sooner when the
queue is full.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf
from time import perf_counter

from gomlx.contract.tensor import Row
from gomlx.errors import DeadlineExceeded, GomlxError, Overloaded
from gomlx.models.batching.cost import Cost, Slowdown
from gomlx.models.batching.run import Complete, Job, JobBatch


@dataclass(frozen=True)
class BatchLimits:
    """The bounds of a model's runs and of its queue.

    max_rows: of one run. linger_seconds: the longest that a run waits for more rows; 0:
    none waits. queued_seconds: the longest that the runs ahead of a new row may take.
    runs: how many expensive ones may go on at once.
    """

    max_rows: int
    linger_seconds: float
    max_queued_rows: int
    queued_seconds: float = inf
    runs: int = 1


class RowQueue:
    """A bounded queue of rows, with the halves of rejected runs in front.

    complete: called with dropped jobs and their errors. For one thread.
    """

    def __init__(
        self,
        name: str,
        limits: BatchLimits,
        cost: Cost,
        complete: Complete,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.rows: deque[tuple[Row, Job]] = deque()
        self.retries: list[JobBatch] = []  # the last one is next
        self._name = name
        self._limits = limits
        self._slowdown = Slowdown(cost, limits.runs)
        self._complete = complete
        self._clock = clock
        self._has_abandoned = False
        self._removed = 0
        self._shortage: Overloaded | None = None  # since the last run

    @property
    def surely_fits(self) -> int:
        """How many rows fit, whatever runs take."""
        return min(self._limits.max_rows, self._limits.max_queued_rows)

    @property
    def added(self) -> int:
        """How many rows have been added since the start; halves were added before."""
        return len(self.rows) + self._removed

    def has_room(self, rows: int = 1, seconds: float = inf) -> bool:
        """Return whether rows fit, and start to run within that time.

        Rows that fit the next run always start in time.
        """
        limits = self._limits
        waiting = len(self.rows)
        if not rows:
            return True
        if waiting + rows > limits.max_queued_rows:
            return False
        if waiting < limits.max_rows:
            return True
        return self.seconds_ahead() <= min(seconds, limits.queued_seconds)

    def shortage(self, rows: int, seconds: float = inf) -> Overloaded | None:
        """Return the error if there is no room, after dropping abandoned rows.

        PERF: it is made once for all that come before the next run, and not raised: in
        an overload these are a hundred.
        """
        if self.has_room(rows, seconds):
            return None
        if self._has_abandoned:
            self._drop_abandoned()
            if self.has_room(rows, seconds):
                return None
        if self._shortage is None:
            seconds_ahead = self.seconds_ahead()
            self._shortage = Overloaded(self._name, len(self.rows), seconds_ahead)
        return self._shortage

    def refuse(self, error: GomlxError) -> None:
        """Complete the jobs of all rows that wait, halves too, with an error."""
        waiting = [entry for batch in (*self.retries, self.rows) for entry in batch]
        self._removed += len(self.rows)
        self.rows.clear()
        self.retries.clear()
        self._slowdown.idle()
        self._complete(waiting, [error] * len(waiting))

    def note_abandoned(self) -> None:
        """Note that a caller has given up: some rows may be dropped."""
        self._has_abandoned = True

    def seconds_ahead(self) -> float:
        """Return the seconds that the runs take before the one of a new row."""
        max_rows = self._limits.max_rows
        return len(self.rows) // max_rows * self._slowdown.seconds(max_rows)

    def next_rows(self) -> int:
        """Return the size of the next run; abandoned rows count."""
        waiting = self.retries[-1] if self.retries else self.rows
        return min(len(waiting), self._limits.max_rows)

    def pop(self, now: float) -> JobBatch:
        """Remove and return the rows of the next run, which starts now."""
        self._shortage = None
        waiting = deque(self.retries.pop()) if self.retries else self.rows
        batch = self._pop_awaited(waiting, self._limits.max_rows, now)
        slowdown = self._slowdown
        if self.rows or slowdown.measures:  # PERF: not for a caller alone
            if batch:
                slowdown.run_starts(now, len(batch), bool(self.rows))
            elif not self.rows:
                slowdown.idle()
        return batch

    def retry(self, batches: Sequence[JobBatch]) -> None:
        """Put batches in front of all rows: the first one is the next run."""
        self.retries.extend(reversed(batches))

    def _drop_abandoned(self) -> None:
        self._has_abandoned = False
        waiting = self.rows.copy()
        self.rows.clear()
        count = len(waiting)
        awaited = self._pop_awaited(waiting, count, self._clock())
        self.rows.extend(awaited)
        self._removed += count - len(awaited)
        if not self.rows:
            self._slowdown.idle()

    def _pop_awaited(
        self, waiting: deque[tuple[Row, Job]], count: int, now: float
    ) -> JobBatch:
        """Remove and return up to count awaited rows; complete abandoned ones."""
        batch: JobBatch = []
        abandoned: JobBatch = []
        while waiting and len(batch) < count:
            entry = waiting.popleft()
            if entry[1].is_awaited(now):
                batch.append(entry)
            else:
                abandoned.append(entry)
        if waiting is self.rows:
            self._removed += len(batch) + len(abandoned)
        if abandoned:
            errors = [DeadlineExceeded.of(self._name) for _ in abandoned]
            self._complete(abandoned, errors)
        return batch
