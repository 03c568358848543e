"""Whether a shared tier works, for a worker's metrics and logs."""

import logging
import time
from collections.abc import Callable

from gomlx.cache.breaker import Breaker, BreakerState
from gomlx.metrics.instruments import Gauge

log = logging.getLogger(__name__)


class TierHealth:
    """A circuit breaker that shows its state in a gauge, and logs its changes.

    subject is what is tried, such as "near: look-ups". problem says why the last try
    failed; it is empty after a success.
    """

    def __init__(
        self,
        subject: str,
        gauge: Gauge | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.problem = ""
        self._subject = subject
        self._gauge = gauge or Gauge()
        self._breaker = Breaker(clock)

    @property
    def state(self) -> BreakerState:
        """The state of the circuit breaker."""
        return self._breaker.state

    @property
    def may_allow(self) -> bool:
        """What `allows` would return, without claiming the one try."""
        return self._breaker.may_allow

    def allows(self) -> bool:
        """Return True when a try may be made; a half-open breaker allows one."""
        is_allowed = self._breaker.allows()
        self._gauge.value = self.state
        return is_allowed

    def succeeded(self) -> None:
        """Close the breaker."""
        if self.state is not BreakerState.CLOSED:
            log.info("%s work again", self._subject)
        self._breaker.succeeded()
        self._gauge.value = self.state
        self.problem = ""

    def failed(self, problem: str) -> None:
        """Note a failure; after several in a row the breaker opens."""
        was_closed = self.state is BreakerState.CLOSED
        self._breaker.failed()
        self._gauge.value = self.state
        self.problem = problem
        if was_closed and self.state is BreakerState.OPEN:
            log.warning("%s fail: %s", self._subject, problem)
