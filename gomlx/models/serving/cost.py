"""What a version's runs take, by their rows; and so where each of them runs.

Measured while warming and with every run since. A run that would keep the event loop
for longer than `EXPENSIVE_SECONDS` goes to a thread, which costs about 0.1 ms
(`python -m loadtests.placing`); its size comes back in line when it takes less than
`CHEAP_SECONDS`, so that it does not flap.
"""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter, thread_time
from typing import NamedTuple

EXPENSIVE_SECONDS = 0.001
CHEAP_SECONDS = 0.0005
_LONG_CPU_SECONDS, _LONG_WAIT_SECONDS = 0.005, 0.02  # never twice in line
_WARM_SECONDS = 1.0


class Spent(NamedTuple):
    """What one run took: by the clock, and of the processor by its own thread."""

    seconds: float
    cpu: float

    @property
    def waited(self) -> float:
        return max(self.seconds - self.cpu, 0.0)


def spent_since(started: float, cpu: float) -> Spent:
    """Return what this thread has spent since these times of its clocks."""
    return Spent(perf_counter() - started, thread_time() - cpu)


def sizes(max_rows: int) -> Iterator[int]:
    """The runs that are measured apart: of 1 row, 2, 4, 8, …, and of max_rows."""
    size = 1
    while size < max_rows:
        yield size
        size *= 2
    yield max_rows


def warmed(run: Callable[[int], object], max_rows: int) -> list[Spent]:
    """Run each size three times, the smallest first; return what it took at best.

    The first run of a size allocates. Larger ones are left out when they would take
    the whole beyond a second or so.
    """
    measured: list[Spent] = []
    until = perf_counter() + _WARM_SECONDS
    for size in sizes(max_rows):
        if measured and perf_counter() + 3 * 2 * measured[-1].seconds > until:
            break
        run(size)
        tries = [_timed(run, size) for _ in range(2)]
        measured.append(Spent(*(min(parts) for parts in zip(*tries, strict=True))))
    return measured


def _timed(run: Callable[[int], object], size: int) -> Spent:
    started, cpu = perf_counter(), thread_time()
    run(size)
    return spent_since(started, cpu)


class Cost:
    """Seconds by rows: a place for runs of 1 row, of 2, of 3 and 4, of 5 to 8, …

    A place has two averages of the last runs. What the processor does is a property of
    the rows, as well as of whoever else uses its caches, so one run tells little. What
    is waited for is a device, in every run, or only a turn on a busy machine, in some:
    so waits rise slowly and fall fast; and in a thread they may be for the event loop,
    and do not rise. But what is very long counts at once, so that a second surprise
    does not find the loop.
    """

    def __init__(self, max_rows: int, measured: Sequence[Spent]) -> None:
        """measured: of the first of `sizes`; larger runs may take twice as long."""
        self._cpu = [spent.cpu for spent in measured]
        self._waits = [spent.waited for spent in measured]
        while len(self._cpu) < len(list(sizes(max_rows))):
            self._cpu.append(2 * self._cpu[-1])
            self._waits.append(2 * self._waits[-1])
        pairs = zip(self._cpu, self._waits, strict=True)
        self._seconds = [cpu + wait for cpu, wait in pairs]
        self._expensive = [seconds > EXPENSIVE_SECONDS for seconds in self._seconds]

    def of(self, rows: int) -> float:
        """Return the seconds that a run is going to take."""
        return self._seconds[(rows - 1).bit_length()]

    def is_expensive(self, rows: int) -> bool:
        """Tell whether a run has to go to a thread."""
        return self._expensive[(rows - 1).bit_length()]

    def add(self, rows: int, spent: Spent, is_in_line: bool) -> None:
        """Learn from a run."""
        i = (rows - 1).bit_length()
        cpu, wait, waited = self._cpu[i], self._waits[i], spent.waited
        if spent.cpu > _LONG_CPU_SECONDS:
            cpu = max(spent.cpu, cpu)
        else:
            cpu += (spent.cpu - cpu) / 8
        if waited < wait:
            wait += (waited - wait) / 8
        elif waited > _LONG_WAIT_SECONDS:
            wait = waited
        elif is_in_line:
            wait += (waited - wait) / 32
        self._cpu[i], self._waits[i] = cpu, wait
        self._seconds[i] = seconds = cpu + wait
        self._expensive[i] = seconds > (
            CHEAP_SECONDS if self._expensive[i] else EXPENSIVE_SECONDS
        )


class Pace:
    """How much longer runs take one after the other than each by itself.

    Between them the event loop reads and answers, and others have the processor.
    """

    def __init__(self) -> None:
        self.slowdown = 1.0
        self._began: float | None = None  # the last run, if rows waited for the next
        self._expected = 0.0

    def begins(self, now: float, expected: float, has_more: bool) -> None:
        """A run begins, which may take so many seconds; has_more: rows wait already."""
        if self._began is not None and self._expected:
            took = max((now - self._began) / self._expected, 1.0)
            # It falls faster: what had kept the runs is over at once.
            self.slowdown += (took - self.slowdown) / (8 if took > self.slowdown else 4)
        self._began, self._expected = now if has_more else None, expected

    def rests(self) -> None:
        """Nothing waits: what did was not wanted any more. An idle time is no run."""
        self._began = None
