"""A circuit breaker: what keeps failing is left alone, and tried now and then.

closed ──(failures in a row)──► open ──(a wait)──► half-open: one try
  ▲                               ▲                   │
  └───────────(it succeeds)───────┼───────────────────┤
                                  └──(it fails: wait longer)
"""

import time
from collections.abc import Callable
from enum import IntEnum
from random import Random

from gomlx.runtime.randomness import RANDOM

_FAILURES = 5  # in a row, that open it
_FIRST_WAIT, _LAST_WAIT = 0.25, 5.0  # seconds; each is twice the one before
_JITTER = 0.2  # so that many processes do not try at the same moment


class BreakerState(IntEnum):
    """As the metrics have it."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Breaker:
    """For one thread. Ask `allows` before each try, and say how it went."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        random: Random = RANDOM,
    ) -> None:
        self._clock = clock
        self._random = random
        self._failures = 0
        self._wait = _FIRST_WAIT
        self._until = 0.0  # when an open one lets somebody try
        self.state = BreakerState.CLOSED

    @property
    def may_allow(self) -> bool:
        """What `allows` would return, without taking the one try."""
        return self.state is BreakerState.CLOSED or (
            self.state is BreakerState.OPEN and self._clock() >= self._until
        )

    def allows(self) -> bool:
        """True when a try may be made; when it has been open, for one caller only."""
        if self.state is BreakerState.CLOSED:
            return True
        if not self.may_allow:
            return False
        self.state = BreakerState.HALF_OPEN
        return True

    def succeeded(self) -> None:
        """It works: close."""
        self._failures = 0
        if self.state is not BreakerState.CLOSED:
            self.state, self._wait = BreakerState.CLOSED, _FIRST_WAIT

    def failed(self) -> None:
        """Open after failures in a row, or again when the one try was one."""
        self._failures += 1
        if self.state is BreakerState.CLOSED and self._failures < _FAILURES:
            return
        if self.state is BreakerState.OPEN:
            return  # a try from before it opened
        jitter = self._random.uniform(1 - _JITTER, 1 + _JITTER)
        self._until = self._clock() + self._wait * jitter
        self._wait = min(self._wait * 2, _LAST_WAIT)
        self.state = BreakerState.OPEN
