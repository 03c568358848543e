"""A share of what happens, chosen at random."""

from collections.abc import Callable
from math import log
from random import Random


class Sampler:
    """Chooses each of many events with the same probability, independently.

    gap: how many events are passed over before the next that is chosen.

    PERF: random numbers are drawn for those that are chosen only; the others cost a
    subtraction of the caller's.
    """

    __slots__ = ("_draw", "_share", "gap")

    def __init__(self, share: float, draw: Callable[[], float] | None = None) -> None:
        """share: above 0, 1 at most. draw: numbers in [0, 1)."""
        self._share = share
        self._draw = draw or Random().random
        self.gap = self.next()

    def next(self) -> int:
        """Return how many events are passed over after one that was chosen."""
        if self._share >= 1:
            return 0
        return int(log(1 - self._draw()) / log(1 - self._share))
