"""When the next run of a version starts: a state machine without an event loop.

    IDLE ───► GATHERING ─────────────► RUNNING ───► IDLE, if nothing waits
                │   ▲                   ▲ ▲ └─────► GATHERING, if rows wait
                ▼   │                   │ │
              YIELDING ─────────────────┘ │
                │                         │
                ▼                         │
              LINGERING ──────────────────┘

    state      event  next state
    IDLE       wake   GATHERING  a row is added
    GATHERING  turn   GATHERING  this turn of the event loop has brought rows, or other
                                 requests, and the next one may bring more
                      RUNNING    the run is cheap
                      YIELDING   it is expensive: hits come first, if the loop is behind
               start  RUNNING    halves of a rejected run wait
    YIELDING   turn   GATHERING  this turn has brought rows
                      YIELDING   the loop is behind
                      LINGERING  more rows are worth the wait (linger.py)
                      RUNNING    they are not
    LINGERING  wake   RUNNING    the run is full
               start  RUNNING    the linger has passed
    RUNNING    end    GATHERING  rows wait
                      IDLE       nothing waits

RUNNING ends with a run in line. A run in a thread ends it as soon as it has started if
other threads are idle; if none is, the first run that returns ends it.

The rows of one turn of the event loop run together in the next: an idle service waits
for no one, and a busy one batches without a timer.
"""

from collections.abc import Callable
from enum import Enum, auto
from sys import maxsize
from time import perf_counter
from typing import Final

from gomlx.models.batching.cost import EXPENSIVE_SECONDS, Cost
from gomlx.models.batching.linger import Linger
from gomlx.models.batching.queue import BatchLimits

# The longest that a run waits while turns bring more of its rows, and while they bring
# other requests, whose callers may send rows next.
_GATHER_SECONDS = 0.001
_READ_SECONDS = 0.0005
_SHORT_TURN_SECONDS = 0.0005  # a loop with such turns is not behind
_YIELD_RUNS = 20  # the longest that an expensive run yields, in times of its length
_YIELD_SHARE = 0.5  # and of queued_seconds
_NEVER = maxsize


class ScheduleState(Enum):
    """What the batcher does next, or waits for."""

    IDLE = auto()
    GATHERING = auto()
    YIELDING = auto()
    LINGERING = auto()
    RUNNING = auto()


# PERF: on Python 3.11, a global is found in a tenth of the time of an enum's member.
IDLE: Final = ScheduleState.IDLE
GATHERING: Final = ScheduleState.GATHERING
YIELDING: Final = ScheduleState.YIELDING
LINGERING: Final = ScheduleState.LINGERING
RUNNING: Final = ScheduleState.RUNNING


class Schedule:
    """The state of one version's batcher. For one thread.

    While the state is GATHERING or YIELDING, `turn` is called in the next turn of the
    loop. wakes_at: the number of waiting rows at which `wake` is called; an added row
    changes nothing before.
    """

    def __init__(
        self,
        limits: BatchLimits,
        cost: Cost,
        linger: Linger,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self.state: ScheduleState = IDLE
        self.wakes_at = 1
        self._limits = limits
        self._cost = cost
        self._linger = linger
        self._clock = clock
        self._waited = 0  # rows, a turn ago
        self._last_rows = 0  # of the last run
        self._gathers_since = 0.0
        self._yield: _Yield | None = None

    def wake(self) -> ScheduleState:
        """Gather with the first row, or run: the queue has reached `wakes_at`."""
        self.state = GATHERING if self.state is IDLE else RUNNING
        self.wakes_at = _NEVER
        return self.state

    def turn(self, waiting: int, brought: int = 0) -> ScheduleState:
        """Decide what to do at the end of this turn of the loop.

        waiting: rows in the queue. brought: requests of this turn, of any model.
        """
        max_rows = self._limits.max_rows
        rows = waiting if waiting < max_rows else max_rows  # PERF: min() takes longer
        before = self._waited
        self._waited = waiting
        if rows < max_rows and self._gathers(before, rows, brought):
            state: ScheduleState = GATHERING
        elif not self._cost.is_expensive(rows or 1):
            state = RUNNING
        elif self._yields(rows or 1):
            state = YIELDING
        elif self._linger.raises_throughput(waiting, max_rows, self._cost.estimate):
            state = LINGERING
            self.wakes_at = max_rows
        else:
            state = RUNNING
        self.state = state
        return state

    def start(self) -> None:
        """Run without further delay."""
        self.state = RUNNING
        self.wakes_at = _NEVER

    def has_time(self, rows: int, elapsed: float) -> bool:
        """Return whether a run of that many rows fits the rest of this turn."""
        return elapsed + self._cost.estimate(rows) <= EXPENSIVE_SECONDS

    def end(self, last_rows: int, has_more: bool) -> None:
        """End RUNNING. last_rows: size of the last run; has_more: rows wait."""
        self._last_rows = last_rows
        self._waited = 0
        self._yield = None
        if has_more:
            self.state = GATHERING
        else:
            self.state = IDLE
            self.wakes_at = 1

    def _gathers(self, before: int, rows: int, brought: int) -> bool:
        """Return whether the next turn may bring rows, since this one has.

        Closed-loop callers that are answered together send their next rows together,
        but the loop reads them over several turns: half of 16 callers at a time. Where
        most requests are hits, any of their callers may send the next row. A single
        caller waits for no one.
        """
        seconds = 0.0
        if brought > 1:
            seconds = _READ_SECONDS
        if before < rows and (rows > 1 or self._last_rows > 1):
            seconds = _GATHER_SECONDS
        if not seconds:  # PERF: the clock is not needed for a single caller
            return False
        now = self._clock()
        if not before:
            self._gathers_since = now
        return now - self._gathers_since < seconds

    def _yields(self, rows: int) -> bool:
        """Return whether an expensive run waits for the event loop to catch up.

        Its thread would take half of the core that the loop is short of, and hits
        would wait for it.
        """
        now = self._clock()
        if self._yield is None:
            most = self._limits.queued_seconds * _YIELD_SHARE
            seconds = min(_YIELD_RUNS * self._cost.estimate(rows), most)
            self._yield = _Yield(now, seconds)
            return True
        return self._yield.goes_on(now)


class _Yield:
    """A run that yields until the first short turn, for `seconds` at most."""

    def __init__(self, now: float, seconds: float) -> None:
        self._turn_started = now
        self._until = now + seconds

    def goes_on(self, now: float) -> bool:
        elapsed = now - self._turn_started
        self._turn_started = now
        return elapsed > _SHORT_TURN_SECONDS and now < self._until
