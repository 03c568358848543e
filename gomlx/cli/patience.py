"""Rows of a file, asked for until they are answered: a file is in no hurry.

ask ─► one request ─┬► answers
                    ├► a row is refused: halves tell which it was
                    ├► too busy for so many, or too late: a quarter of them at once
                    └► nobody answers now: the same again, while patience lasts
"""

import threading
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any

from rich.markup import escape

from gomlx.cli.terminal import errors
from gomlx.client.answer import Answer
from gomlx.client.client import Client
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

_REFUSED = (InvalidInput, RunFailed, TooLarge)  # it is the row; all else may pass
_BUSY = (Overloaded, DeadlineExceeded)  # fewer rows may do
_PASSING = (*_BUSY, NoHost, NotReady, BadResponse)
_PAUSE_SECONDS = 1.0
_TIMEOUTS = 2.0  # that a request is asked again for, beyond what its client does

Outcome = Answer | GomlxError
Columns = Callable[[Any], Mapping[str, Any]]  # of sliceable rows. Raises InvalidInput


class Patient:
    """Asks for rows, from any number of threads; at most so many in one request."""

    def __init__(self, client: Client, columns: Columns, most: int) -> None:
        self._client, self._columns, self._most = client, columns, most
        self._seconds = _TIMEOUTS * client.options.timeout_seconds
        self._telling = threading.Lock()  # and changing _most
        self._is_told, self._moved = False, 0.0  # when something became better
        self._stopped = threading.Event()

    def ask(self, rows: Any) -> list[Outcome]:
        """Return each row's outcome. Raises what did not pass."""
        outcomes: list[Outcome] = []
        while (done := len(outcomes)) < len(rows):
            outcomes += self._asked(rows[done : done + self._most])
        return outcomes

    def stop(self) -> None:
        """Ask nothing again."""
        self._stopped.set()

    def _asked(self, rows: Any) -> list[Outcome]:
        size, began = len(rows), monotonic()
        while True:
            try:
                answers = self._client.predict_batch(self._columns(rows))
            except _REFUSED as error:
                return [error] if size == 1 else self._in_halves(rows)
            except _PASSING as error:
                if self._stopped.is_set():
                    raise
                if size > 1 and isinstance(error, _BUSY):
                    self._take_less(size, error)
                    return self.ask(rows)
                self._tell_once(error)
                since = monotonic() - max(began, self._moved)
                if since > self._seconds or self._stopped.wait(_PAUSE_SECONDS):
                    raise
                if size > self._most:  # others have met the limit meanwhile
                    return self.ask(rows)
            else:
                self._is_told, self._moved = False, monotonic()
                return list(answers)

    def _in_halves(self, rows: Any) -> list[Outcome]:
        middle = len(rows) // 2
        return self._asked(rows[:middle]) + self._asked(rows[middle:])

    def _take_less(self, size: int, error: GomlxError) -> None:
        """Let no request have as many rows as the one that has failed, ever again."""
        fewer = max(size // 4, 1)
        with self._telling:
            if fewer < self._most:  # else others have met the same
                self._most, self._moved = fewer, monotonic()
                _warn(f"{error}; going on with {fewer} rows at once")

    def _tell_once(self, error: GomlxError) -> None:
        with self._telling:
            if not self._is_told:
                self._is_told = True
                _warn(f"{error}; trying again for up to {self._seconds:g} s")


def _warn(text: str) -> None:
    errors.print("[yellow]warning:[/]", escape(text))
