"""Logs of a service's processes: standard error, and no flood of equal lines."""

import logging
import sys
import time
from collections.abc import Callable

_EVERY_SECONDS = 1.0
_MAX_KINDS = 1000


def log_to_stderr(level: str) -> None:
    """Log to standard error: time, level, process id, logger, message.

    Of warnings and errors of one kind, one a second is written.
    """
    logging.basicConfig(
        level=level.upper(),
        format="%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s",
        stream=sys.stderr,
    )
    for handler in logging.getLogger().handlers:
        handler.addFilter(RepeatFilter())


class RepeatFilter(logging.Filter):
    """Drops a warning or an error if one of its kind has passed within a second.

    The next one that passes says how many were dropped. Of our own loggers, records are
    of one kind if place and message are equal; of libraries, if the place is: their
    messages may contain addresses of connections, and a client may cause them.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._clock = clock
        self._passed_at: dict[tuple[str, int, str], float] = {}
        self._dropped: dict[tuple[str, int, str], int] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        is_ours = record.name.startswith("gomlx")
        kind = record.name, record.lineno, record.getMessage() if is_ours else ""
        now = self._clock()
        if now - self._passed_at.get(kind, -_EVERY_SECONDS) < _EVERY_SECONDS:
            self._dropped[kind] = self._dropped.get(kind, 0) + 1
            return False
        if len(self._passed_at) >= _MAX_KINDS:
            self._passed_at.clear()
            self._dropped.clear()
        self._passed_at[kind] = now
        dropped = self._dropped.pop(kind, 0)
        if dropped:
            record.msg = f"{record.getMessage()} (and {dropped} more like it)"
            record.args = ()
        return True
