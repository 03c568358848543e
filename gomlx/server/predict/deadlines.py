"""When requests want their answers at the latest."""

import asyncio
import re
from time import perf_counter

from gomlx.errors import DeadlineExceeded, InvalidInput, excerpt
from gomlx.server.predict.request import PendingRequest

HEADER = "Request-Timeout-Ms"
_MILLISECONDS = re.compile(r"0*[1-9][0-9]{0,11}")
_SWEEP_SECONDS = 0.025


def seconds_of(header: str | None, most: float) -> float:
    """Return how long a request waits for its answer. Raises InvalidInput."""
    if header is None:
        return most
    if not _MILLISECONDS.fullmatch(header):
        wanted = "a whole number of milliseconds of at least 1"
        raise InvalidInput(
            f"header {HEADER}: expected {wanted}, got {excerpt(header)!r}"
        )
    return min(int(header) / 1000, most)


class Deadlines:
    """Answers 504 to requests whose time is up while they wait.

    One timer for all of them, while there are any: answers are late by its period at
    most. A timer each would cost every miss more than all else that is done here.
    """

    def __init__(self) -> None:
        self._waiting: set[PendingRequest] = set()
        self._is_sweeping = False
        # Let go of one that is answered, or was never watched.
        self.discard = self._waiting.discard

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, pending: PendingRequest) -> None:
        """Watch a request until `discard`."""
        self._waiting.add(pending)
        if not self._is_sweeping:
            self._is_sweeping = True
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        now = perf_counter()
        for pending in [p for p in self._waiting if p.deadline <= now]:
            self._waiting.discard(pending)
            pending.end(DeadlineExceeded.of(pending.name))
        self._is_sweeping = bool(self._waiting)
        if self._is_sweeping:
            asyncio.get_running_loop().call_later(_SWEEP_SECONDS, self._sweep)
