"""A circuit breaker: skips what keeps failing, and tries it again now and then.

closed ──(failures in a row)──► open ──(a wait)──► half-open: one try
  ▲                               ▲                   │
  └─────────(it succeeds)─────────┼───────────────────┤
                                  └──(it fails: wait longer)
"""

import time
from collections.abc import Callable
from enum import IntEnum
from random import Random

from gomlx.runtime.randomness import RANDOM

_FAILURES = 5  # in a row, that open it
_FIRST_WAIT_SECONDS = 0.25  # each wait is twice the one before,
_LAST_WAIT_SECONDS = 5.0  # up to this
_JITTER = 0.2  # so that many processes do not try at the same moment


class BreakerState(IntEnum):
    """As the metrics have it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """Stops calls to a tier that fails, and lets one through now and then.

    Call `allows` before each try, and report its outcome. For one thread.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        random: Random = RANDOM,
    ) -> None:
        self._clock = clock
        self._random = random
        self._failures = 0
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._retry_at = 0.0  # when an open one becomes half-open
        self.state = BreakerState.CLOSED

    @property
    def may_allow(self) -> bool:
        """What `allows` would return, without claiming the one try."""
        return self.state is BreakerState.CLOSED or (
            self.state is BreakerState.OPEN and self._clock() >= self._retry_at
        )

    def allows(self) -> bool:
        """Return True when a try may be made; after a wait, to one caller only."""
        if self.state is BreakerState.CLOSED:
            return True
        if not self.may_allow:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def succeeded(self) -> None:
        """Close."""
        self._failures = 0
        if self.state is not BreakerState.CLOSED:
            self.state = BreakerState.CLOSED
            self._wait_seconds = _FIRST_WAIT_SECONDS

    def failed(self) -> None:
        """Open after several failures in a row, and after one when half-open."""
        self._failures += 1
        if self.state is BreakerState.CLOSED and self._failures < _FAILURES:
            return
        if self.state is BreakerState.OPEN:
            return  # a try that began before it opened
        jitter = self._random.uniform(1 - _JITTER, 1 + _JITTER)
        self._retry_at = self._clock() + self._wait_seconds * jitter
        self._wait_seconds = min(self._wait_seconds * 2, _LAST_WAIT_SECONDS)
        self.state = BreakerState.OPEN
