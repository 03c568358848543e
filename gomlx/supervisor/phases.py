"""What a staging does at the moment, for the log, as long as it lasts."""

import asyncio
import logging
import time
from types import TracebackType

log = logging.getLogger(__name__)

_EVERY_SECONDS = 10.0


class Phases:
    """One staging, as a context manager: a line in the log every ten seconds.

    name: the model's. every_seconds: between two lines.
    """

    def __init__(self, name: str, every_seconds: float = _EVERY_SECONDS) -> None:
        self._name = name
        self._every_seconds = every_seconds
        self._started = time.monotonic()
        self._phase = ""
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> "Phases":
        self._log_later()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer:
            self._timer.cancel()

    def begin(self, phase: str) -> None:
        """Note what is done from now on."""
        self._phase = phase

    @property
    def where(self) -> str:
        """Where a staging has ended, for the end of a sentence."""
        return f", at last: {self._phase}" if self._phase else ""

    def _log_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._every_seconds, self._log)

    def _log(self) -> None:
        elapsed = time.monotonic() - self._started
        phase = self._phase or "its process starts"
        log.info("model %s: staging for %.0f s: %s", self._name, elapsed, phase)
        self._log_later()
