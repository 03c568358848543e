"""Whether the run of an expensive model should wait for more rows.

Rows gather while it runs in any case. But closed-loop callers then split into two
halves, each of which waits while the other's rows run. If one run of both halves takes
hardly longer, a short wait joins them.
"""

from collections.abc import Callable

_GAIN = 1.1  # less is noise, or rows that arrive evenly, where waiting gains nothing


class Linger:
    """An average of the rows that arrive within `seconds`. For one thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._arrivals = 0.0

    def raises_throughput(
        self, rows: int, max_rows: int, estimate: Callable[[int], float]
    ) -> bool:
        """Return whether waiting for the rows to come runs more rows a second.

        estimate: rows of a run → its seconds.
        """
        if not self.seconds or rows >= max_rows:
            return False
        joined = min(rows + self._arrivals, max_rows)
        lingering = joined / (self.seconds + estimate(round(joined)))
        return lingering > _GAIN * rows / estimate(rows)

    def observe(self, rows: int) -> None:
        """Learn how many rows arrived in that time, whether a run waited or not."""
        self._arrivals += (rows - self._arrivals) / 8
