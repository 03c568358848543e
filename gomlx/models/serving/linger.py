"""Whether it pays to let a run of a dear model wait for more rows.

While it runs, rows gather anyway. But callers who ask again as soon as they are
answered then split into two halves, each of which waits for the other's run. If a run
of both takes hardly longer, a moment of waiting joins them.
"""

from collections.abc import Callable

_GAIN = 1.1  # less is noise, or no gain at all: rows that come evenly


class Linger:
    """How many rows come while one waits `seconds`, of late. For one thread."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._more = 0.0

    def pays(self, rows: int, max_rows: int, cost: Callable[[int], float]) -> bool:
        """Tell whether more rows a second would run with those that will have come.

        cost: the seconds of a run of so many rows.
        """
        if not self.seconds or rows >= max_rows:
            return False
        joined = min(rows + self._more, max_rows)
        lingering = joined / (self.seconds + cost(round(joined)))
        return lingering > _GAIN * rows / cost(rows)

    def add(self, rows: int) -> None:
        """Learn how many rows came in that time, waited for or not."""
        self._more += (rows - self._more) / 8
