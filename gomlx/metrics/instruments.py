"""What a worker counts and measures between two flushes, in plain attributes.

The request path pays 30 ns for `counter.n += 1` (loadtests/parts/counting.py). Each
instrument is for one thread. metrics.py makes them and flushes them.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import inf
from typing import NamedTuple

from gomlx.metrics.tally import NONE, Sums


class Counter:
    """The number of events since the last flush."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Drained(NamedTuple):
    """What a histogram held: the number of values in each bucket, and their sums."""

    counts: list[int]
    sums: Sums


class Histogram:
    """The values measured since the last flush, by bucket.

    bounds ascend; a bucket holds the values up to its bound, and one more bucket those
    above the last bound.

    PERF: `add` is a list's append, and many values are sorted into buckets at once:
    this costs a fifth of doing so one by one (loadtests/parts/counting.py).
    """

    __slots__ = ("_counts", "_sums", "_values", "add", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._values: list[float] = []
        self.add = self._values.append
        self._counts = [0] * (len(bounds) + 1)
        self._sums = NONE

    def fold(self) -> None:
        """Sort the values added so far into buckets, so that they do not pile up."""
        if not self._values:
            return
        values = sorted(self._values)
        self._values.clear()
        added = Sums(len(values), sum(values), values[0], values[-1])
        self._sums = self._sums.plus(added)
        before = 0
        for i, bound in enumerate((*self.bounds, inf)):
            upto = bisect_right(values, bound, before)
            self._counts[i] += upto - before
            before = upto

    @property
    def counts(self) -> list[int]:
        """The number of values in each bucket."""
        self.fold()
        return self._counts

    @property
    def sums(self) -> Sums:
        """The number of values, their sum, the least and the greatest."""
        self.fold()
        return self._sums

    def drain(self) -> Drained:
        """Return the counts by bucket and the sums, and start again from zero."""
        drained = Drained(self.counts, self._sums)
        self._counts = [0] * (len(self.bounds) + 1)
        self._sums = NONE
        return drained


class Gauge:
    """A state of this worker; its declaration says how those of several are shown."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0
