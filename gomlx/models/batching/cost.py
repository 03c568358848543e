"""How long runs of a version take, by their rows, and so where they run.

Measured while warming and with every run since. A run that would block the event loop
for longer than `EXPENSIVE_SECONDS` goes to a thread, which costs about 0.1 ms
(`python -m loadtests.parts.placing`). Runs of its size come back in line when they take
less than `CHEAP_SECONDS`; the distance between the two keeps them from flapping.
"""

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter, thread_time
from typing import NamedTuple

from gomlx.contract.tensor import Row

EXPENSIVE_SECONDS = 0.001
CHEAP_SECONDS = 0.0005
# A single run as long as this makes its size expensive: never twice in line.
_LONG_CPU_SECONDS = 0.005
_LONG_WAIT_SECONDS = 0.02
_FRESH_SECONDS = 0.002
_WARM_SECONDS = 1.0
_BETWEEN = (3, 5, 6)  # sizes that are not measured


class Timing(NamedTuple):
    """The wall time of one run, and the CPU time of its thread, in seconds."""

    wall: float
    cpu: float

    @property
    def off_cpu(self) -> float:
        return max(self.wall - self.cpu, 0.0)


def batch_sizes(max_rows: int) -> Iterator[int]:
    """Yield the sizes that are measured: 1 row, 2, 4, 8, …, and max_rows."""
    size = 1
    while size < max_rows:
        yield size
        size *= 2
    yield max_rows


def measure_sizes(
    run: Callable[[int], object],
    max_rows: int,
    clock: Callable[[], float] = perf_counter,
    budget_seconds: float = _WARM_SECONDS,
) -> list[Timing]:
    """Run each size three times, the smallest first; return the best timing of each.

    The first run of a size allocates, and is not timed. Larger sizes are skipped once
    the total would exceed about budget_seconds.
    """
    measured: list[Timing] = []
    until = clock() + budget_seconds
    for size in batch_sizes(max_rows):
        if measured and clock() + 3 * 2 * measured[-1].wall > until:
            break
        run(size)
        first = _timed(run, size, clock)
        second = _timed(run, size, clock)
        best = Timing(min(first.wall, second.wall), min(first.cpu, second.cpu))
        measured.append(best)
    return measured


def new_sizes_cost(
    run: Callable[[int], object], max_rows: int, measured: Sequence[Timing]
) -> bool:
    """Run sizes between those that were measured, which is all; True if that costs.

    Something then prepares each new size, as a compiler does. CPU time counts: the
    wait for a busy processor does not.
    """
    between = [size for size in _BETWEEN if size < max_rows]
    if not between or len(measured) < len(list(batch_sizes(max_rows))):
        return False
    return all(_first_costs(run, size) for size in between)


def _first_costs(run: Callable[[int], object], size: int) -> bool:
    first = _timed(run, size, perf_counter).cpu
    return first > _LONG_CPU_SECONDS + 2 * _timed(run, size, perf_counter).cpu


def _timed(
    run: Callable[[int], object], size: int, clock: Callable[[], float]
) -> Timing:
    started = clock()
    cpu_started = thread_time()
    run(size)
    return Timing(clock() - started, thread_time() - cpu_started)


def rows_of_requests(batch: Sequence[tuple[Row, object]]) -> int:
    """Return how many rows the requests of a batch have, which are rows of rows."""
    return sum([len(rows) for rows, _ in batch])


class Cost:
    """Seconds per run, by size class: 1 row, 2, 3 and 4, 5 to 8, …

    A class has two averages of its last runs. CPU time is a property of the rows, but
    also of what else uses the processor's caches, so one run says little. Time off
    the CPU is either a device, in every run, or a busy machine, in some: its average
    rises slowly and falls fast. In a thread it may be the wait for the event loop, and
    the average does not rise. A very long run counts at once, so that the next one of
    its size does not block the loop again.

    key_seconds: what the answer for one key, a row or a request of the most rows, took
    when it was measured, nothing else being done: as look-ups are measured.
    """

    def __init__(
        self,
        max_rows: int,
        measured: Sequence[Timing],
        rows_of: Callable[[Sequence[tuple[Row, object]]], int] = len,
        in_threads: bool = False,
    ) -> None:
        """measured: the first of `batch_sizes`; each larger one is assumed doubled.

        rows_of: how many rows a batch has, by which its run is measured. in_threads:
        what a run took says nothing of the next one, so all belong in threads.
        """
        self.rows_of = rows_of
        self._expensive_seconds = -1.0 if in_threads else EXPENSIVE_SECONDS
        self._cheap_seconds = -1.0 if in_threads else CHEAP_SECONDS
        self._sizes = [_SizeCost(timing.cpu, timing.off_cpu) for timing in measured]
        while len(self._sizes) < len(list(batch_sizes(max_rows))):
            last = self._sizes[-1]
            self._sizes.append(_SizeCost(2 * last.cpu, 2 * last.wait))
        for size in self._sizes:
            size.is_expensive = size.seconds > self._expensive_seconds
        self.key_seconds = self._sizes[0 if rows_of is len else -1].seconds

    def estimate(self, rows: int) -> float:
        """Return the seconds that a run of that many rows is expected to take."""
        return self._sizes[(rows - 1).bit_length()].seconds

    def is_expensive(self, rows: int) -> bool:
        """Return whether a run of that many rows belongs in a thread."""
        return self._sizes[(rows - 1).bit_length()].is_expensive

    def is_due(self, rows: int, now: float) -> bool:
        """Whether to observe a run in line that starts now, by `perf_counter`.

        Not if one of its size was observed a moment ago: a run that blocks the loop is
        longer, so the next one is observed. PERF: to read the CPU time costs a single
        caller a fortieth of a request.
        """
        size = self._sizes[(rows - 1).bit_length()]
        if now < size.fresh_until:
            return False
        size.fresh_until = now + _FRESH_SECONDS
        return True

    def observe(self, rows: int, timing: Timing, is_in_line: bool) -> None:
        """Learn from a run."""
        wall, cpu = timing
        waited = wall - cpu if wall > cpu else 0.0
        size = self._sizes[(rows - 1).bit_length()]
        if cpu > _LONG_CPU_SECONDS:
            size.cpu = max(cpu, size.cpu)
        else:
            size.cpu += (cpu - size.cpu) / 8
        if waited < size.wait:
            size.wait += (waited - size.wait) / 8
        elif waited > _LONG_WAIT_SECONDS:
            size.wait = waited
        elif is_in_line:
            size.wait += (waited - size.wait) / 32
        size.seconds = size.cpu + size.wait
        size.is_expensive = size.seconds > (
            self._cheap_seconds if size.is_expensive else self._expensive_seconds
        )


class _SizeCost:
    """The averages of one size class: CPU time, time off the CPU, and both."""

    __slots__ = ("cpu", "fresh_until", "is_expensive", "seconds", "wait")

    def __init__(self, cpu: float, wait: float) -> None:
        self.cpu = cpu
        self.wait = wait
        self.seconds = cpu + wait
        self.is_expensive = True
        self.fresh_until = 0.0


class Slowdown:
    """How much longer runs take back to back than each on its own: a factor.

    Between them the event loop reads and answers, and other processes have the CPU.
    measures: rows waited for the next run when the last one started.
    """

    def __init__(self, cost: Cost, runs: int = 1) -> None:
        """cost: of one run on its own. runs: how many go on at once."""
        self.factor = 1.0
        self.measures = False
        self._cost = cost
        self._runs = runs
        self._started = 0.0  # the last run
        self._expected = 0.0

    def seconds(self, rows: int) -> float:
        """Return how long a run of that many rows keeps the next one waiting."""
        return self._cost.estimate(rows) / self._runs * self.factor

    def run_starts(self, now: float, rows: int, has_more: bool) -> None:
        """Learn from the time since the last run started.

        rows: of this run. has_more: rows wait for the next one.
        """
        if self.measures and self._expected:
            ratio = max((now - self._started) / self._expected, 1.0)
            # It falls faster: what delayed the runs ends abruptly.
            self.factor += (ratio - self.factor) / (8 if ratio > self.factor else 4)
        self._started = now
        self.measures = has_more
        self._expected = self._cost.estimate(rows) / self._runs

    def idle(self) -> None:
        """Forget the last run: the rows that waited for the next one are dropped."""
        self.measures = False
