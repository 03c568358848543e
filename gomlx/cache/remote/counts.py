"""Outcomes of look-ups and writes in a shared tier.

Counters are made by a function (metric, outcome) → counter.
"""

from collections.abc import Callable

from gomlx.metrics.instruments import Counter, Gauge, Histogram

MakeCounter = Callable[[str, str], Counter]


class WriteCounts:
    """Outcomes of writes."""

    def __init__(self, counter: MakeCounter) -> None:
        self.written = counter("gomlx_cache_writes", "written")
        self.dropped = counter("gomlx_cache_writes", "dropped")
        self.failed = counter("gomlx_cache_writes", "failed")


class RemoteCounts:
    """Outcomes of look-ups, by row, and of writes.

    seconds: how long look-ups take. state: of their circuit breaker.
    """

    def __init__(self, counter: MakeCounter, seconds: Histogram, state: Gauge) -> None:
        self.hit = counter("gomlx_cache_lookups", "hit")
        self.miss = counter("gomlx_cache_lookups", "miss")
        self.late = counter("gomlx_cache_lookups", "late")
        self.bad = counter("gomlx_cache_lookups", "bad")
        self.failed = counter("gomlx_cache_lookups", "failed")
        self.skipped = counter("gomlx_cache_lookups", "skipped")
        self.writes = WriteCounts(counter)
        self.seconds = seconds
        self.state = state

    @classmethod
    def unshown(cls) -> "RemoteCounts":
        """Return counts that are in no metric."""
        return cls(lambda *_: Counter(), Histogram(()), Gauge())
