"""How long to wait before the next attempt: twice as long after each failure."""


class Backoff:
    """Delays in seconds that double from first to last, until a success resets them."""

    def __init__(self, first: float, last: float) -> None:
        self._first = first
        self._last = last
        self._next = first

    def next(self) -> float:
        """Return the delay after a failure, and double the one after that."""
        delay = self._next
        self._next = min(delay * 2, self._last)
        return delay

    def reset(self) -> None:
        """Begin again with the first delay."""
        self._next = self._first
