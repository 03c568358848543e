"""How long requests wait for their answers; 504 for those that wait too long."""

import asyncio
import re
from collections.abc import Callable
from time import perf_counter

from gomlx.errors import DeadlineExceeded, InvalidInput, excerpt
from gomlx.server.predict.request import PendingRequest

HEADER = "Request-Timeout-Ms"
_MILLISECONDS = re.compile(r"0*([1-9][0-9]{0,11})", re.ASCII)


def timeout_seconds(header: str | None, most: float) -> float:
    """Return how long a request waits; most: what the config allows.

    Raises InvalidInput.
    """
    if header is None:
        return most
    number = _MILLISECONDS.fullmatch(header)
    if number is None:
        wanted = "a whole number of milliseconds of at least 1"
        raise InvalidInput(
            f"header {HEADER}: expected {wanted}, got {excerpt(header)!r}"
        )
    return min(int(number[1]) / 1000, most)


class Deadlines:
    """Ends pending requests whose deadline has passed: DeadlineExceeded.

    One timer sweeps over all of them, as long as there are any, so they end late by its
    period at most. PERF: a timer each would cost a miss more than all else here.
    """

    def __init__(
        self,
        sweep_seconds: float = 0.025,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._sweep_seconds = sweep_seconds
        self._clock = clock
        self._pending: set[PendingRequest] = set()
        self._is_sweeping = False
        # Watch a request no longer; one that is not watched is ignored.
        self.discard = self._pending.discard

    def add(self, pending: PendingRequest) -> None:
        """Watch a request until `discard`."""
        self._pending.add(pending)
        if not self._is_sweeping:
            self._schedule()

    def _schedule(self) -> None:
        self._is_sweeping = True
        asyncio.get_running_loop().call_later(self._sweep_seconds, self._sweep)

    def _sweep(self) -> None:
        now = self._clock()
        late = [pending for pending in self._pending if pending.deadline <= now]
        try:
            for pending in late:
                self._pending.discard(pending)
                pending.end(DeadlineExceeded.of(pending.name))
        finally:  # a requester's bug must not stop the timer
            self._is_sweeping = False
            if self._pending:
                self._schedule()
