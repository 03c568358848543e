"""How fast a total grows, from samples of it."""

import time
from collections import deque
from collections.abc import Callable

_WINDOW_SECONDS = 60.0


class RecentRate:
    """The growth a second over the last minute, or since the first sample.

    clock gives seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples = deque[tuple[float, int]]()  # the oldest first

    def sample(self, total: int) -> None:
        """Take what the total is now."""
        now = self._clock()
        samples = self._samples
        # The one before the window begins stays, so that all of the window counts.
        while len(samples) > 1 and samples[1][0] <= now - _WINDOW_SECONDS:
            samples.popleft()
        samples.append((now, total))

    def per_second(self) -> float:
        """Return the rate; 0 until there are two samples, or if the total shrank."""
        if not self._samples:
            return 0.0
        began, first = self._samples[0]
        now, last = self._samples[-1]
        return max(0.0, (last - first) / (now - began)) if now > began else 0.0
