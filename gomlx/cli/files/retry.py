"""Requests of rows that are repeated until they are answered: a file is in no hurry.

predict ─► one request ─┬► answers
                        ├► a row is refused: halves find out which one
                        ├► too many rows for now, or too slow: a quarter of them each
                        └► no host answers: the same again after a pause, until the
                           policy's time without an answer is over
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

from gomlx.cli.terminal import print_warning
from gomlx.client.answer import RowOutcome
from gomlx.client.client import Client
from gomlx.contract.halving import halves
from gomlx.errors import (
    BadResponse,
    DeadlineExceeded,
    GomlxError,
    InvalidInput,
    NoHost,
    NotReady,
    Overloaded,
    RunFailed,
    TooLarge,
)

_REFUSALS = (InvalidInput, RunFailed, TooLarge)  # the row's fault; all others may pass
_BUSY = (Overloaded, DeadlineExceeded)  # fewer rows may do
_TRANSIENT = (*_BUSY, NoHost, NotReady, BadResponse)
_TIMEOUTS = 2.0


@dataclass(frozen=True)
class RetryPolicy:
    """How long failing requests are repeated.

    seconds counts from the start of a request or the last sign of recovery;
    pause_seconds is the pause before each repetition.
    """

    seconds: float
    pause_seconds: float = 1.0

    @classmethod
    def of(cls, client: Client) -> "RetryPolicy":
        """Return the default: two timeouts, beyond what the client itself retries."""
        return cls(_TIMEOUTS * client.options.timeout_seconds)


class RetryingPredictor:
    """Predicts rows with retries; several threads may use it.

    columns makes a request's columns of a slice of rows, and may raise InvalidInput. A
    request has max_rows at most; fewer once the service was too busy for as many.
    """

    def __init__(
        self,
        client: Client,
        columns: Callable[[Any], Mapping[str, Any]],
        max_rows: int,
        policy: RetryPolicy,
    ) -> None:
        self._client = client
        self._columns = columns
        self._max_rows = max_rows
        self._policy = policy
        self._lock = threading.Lock()  # of _max_rows and of the warnings
        self._is_warned = False
        self._recovered_at = 0.0  # of the last answer, or of the last reduction
        self._stopped = threading.Event()

    def predict(self, rows: Any) -> list[RowOutcome]:
        """Return each row's answer or refusal. Raises the error that did not pass."""
        outcomes: list[RowOutcome] = []
        while (done := len(outcomes)) < len(rows):
            outcomes += self._request(rows[done : done + self._max_rows])
        return outcomes

    def stop(self) -> None:
        """Repeat nothing from now on; end the pauses."""
        self._stopped.set()

    def _request(self, rows: Any) -> list[RowOutcome]:
        started = monotonic()
        while True:
            try:
                answers = self._client.predict_batch(self._columns(rows))
            except _REFUSALS as error:
                return [error] if len(rows) == 1 else self._request_halves(rows)
            except _TRANSIENT as error:
                if self._stopped.is_set():
                    raise
                if len(rows) > 1 and isinstance(error, _BUSY):
                    self._reduce(len(rows), error)
                    return self.predict(rows)
                self._warn_once(error)
                if not self._pause(started):
                    raise
                if len(rows) > self._max_rows:  # another thread has reduced it
                    return self.predict(rows)
            else:
                self._is_warned = False
                self._recovered_at = monotonic()
                return list(answers)

    def _request_halves(self, rows: Any) -> list[RowOutcome]:
        first, second = halves(rows)
        return self._request(first) + self._request(second)

    def _reduce(self, size: int, error: GomlxError) -> None:
        """Let no later request have as many rows as the one that has failed."""
        fewer = max(size // 4, 1)
        with self._lock:
            if fewer < self._max_rows:  # else another thread has done it
                self._max_rows = fewer
                self._recovered_at = monotonic()
                print_warning(f"{error}; continuing with {fewer} rows at once")

    def _warn_once(self, error: GomlxError) -> None:
        with self._lock:
            if not self._is_warned:
                self._is_warned = True
                seconds = f"{self._policy.seconds:g} s"
                print_warning(f"{error}; trying again for up to {seconds}")

    def _pause(self, started: float) -> bool:
        """Wait before a repetition; False after the policy's time, or after `stop`."""
        failing_seconds = monotonic() - max(started, self._recovered_at)
        if failing_seconds > self._policy.seconds:
            return False
        return not self._stopped.wait(self._policy.pause_seconds)
