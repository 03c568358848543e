"""How many expensive runs of a version go on at once, and the threads that they have.

A worker has cores // workers cores. One of several stays with the event loop, so that
hits do not wait for runs; the others are used by several runs at once, and by
TensorFlow's own threads in a run that is long.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, TypeVar

T = TypeVar("T")

# A shorter run loses by TensorFlow's threads: each operation goes to them and back.
LONG_SECONDS = 0.005
_MOST_EXTRA = 1.25  # CPU time of the parts of a run, in times of the whole


def spare_cores(workers: int) -> int:
    """Return the cores that the runs of each of so many workers may use, at least 1."""
    cores = len(os.sched_getaffinity(0)) // workers
    return max(cores - 1, 1)


def threads_in_run(row_seconds: float, cores: int) -> int:
    """Return how many threads TensorFlow should have in a run.

    row_seconds: what one row takes on one thread. cores: those that runs may use.
    """
    return cores if row_seconds >= LONG_SECONDS else 1


class Threads:
    """The threads for a version's expensive runs. For one thread: the event loop's.

    busy: how many runs are under way.
    """

    def __init__(self, name: str, count: int) -> None:
        self.busy = 0
        self._count = count
        self._executor = ThreadPoolExecutor(count, f"run-{name}")

    @property
    def idle(self) -> int:
        """How many more runs may start."""
        return self._count - self.busy

    def start(self, function: Callable[[Any], T], argument: Any) -> "asyncio.Future[T]":
        """Call a function in an idle thread; `release` the thread when it returns."""
        self.busy += 1
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._executor, function, argument)

    def release(self) -> None:
        """Note that a call has returned."""
        self.busy -= 1

    def close(self) -> None:
        """Let the threads end; none may be busy."""
        self._executor.shutdown(wait=False)


def spread(
    batch: Sequence[T], most: int, estimate: Callable[[int], float]
) -> list[Sequence[T]]:
    """Return a batch in up to `most` parts that run at once.

    estimate: rows → seconds of their run. The parts are fewer, or only one, where more
    would cost much more CPU time than the whole: other runs may need the cores.
    """
    rows = len(batch)
    parts = min(most, rows)
    if parts > 1:
        limit = _MOST_EXTRA * estimate(rows)
        while parts > 1 and parts * estimate(-(-rows // parts)) > limit:
            parts -= 1
    ends = [rows * i // parts for i in range(parts + 1)]
    return [batch[start:end] for start, end in pairwise(ends)]
