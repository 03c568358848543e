"""Logs of a service's processes: standard error, as text or as JSON, and no floods.

What libraries write to standard error themselves is read and logged, too (stray.py).
"""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from types import TracebackType

STDERR = 2
# Longer ones may be mixed with those of other processes: PIPE_BUF of Linux.
MOST_BYTES = 4096
_EVERY_SECONDS = 1.0
_MAX_KINDS = 1000
_TEXT = "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s"
_CUT = " … "
_SHORTEST = 64  # characters, to which a text is cut

log = logging.getLogger(__name__)


def log_to_stderr(level: str, style: str = "text", descriptor: int = STDERR) -> None:
    """Log time, level, process id, logger and message: a line, or a JSON object.

    style: text or json. descriptor: of the standard error that people read, where that
    of this process is read by another one. Of warnings and errors of one kind, one a
    second is written. Does nothing in a program that has set up its logs.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    handler = DescriptorHandler(descriptor, style)
    is_json = style == "json"
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter(_TEXT))
    handler.addFilter(RepeatFilter())
    root.addHandler(handler)
    root.setLevel(level.upper())
    if is_json:
        logging.captureWarnings(True)
        sys.excepthook = _log_uncaught


def _log_uncaught(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    log.critical("this process ends", exc_info=(kind, error, trace))


def own_handler() -> "DescriptorHandler | None":
    """Return the handler that `log_to_stderr` has made, if it has."""
    found = logging.getLogger().handlers
    return next((one for one in found if isinstance(one, DescriptorHandler)), None)


def log_descriptor() -> int:
    """Return the descriptor of the standard error that people read."""
    handler = own_handler()
    return handler.descriptor if handler else STDERR


def log_options() -> list[str]:
    """Return the options of a process of ours that has it log as this one does.

    It must inherit `log_descriptor`.
    """
    handler = own_handler()
    style = handler.style if handler else "text"
    return ["--log-descriptor", str(log_descriptor()), "--log-format", style]


class DescriptorHandler(logging.Handler):
    """Writes each record at once to a file descriptor.

    A line is one write: processes that share the descriptor do not mix theirs. style:
    text or json.
    """

    def __init__(self, descriptor: int, style: str) -> None:
        super().__init__()
        self.descriptor = descriptor
        self.style = style

    def emit(self, record: logging.LogRecord) -> None:
        try:
            rest = f"{self.format(record)}\n".encode(errors="replace")
        except Exception:
            self.handleError(record)
            return
        with suppress(OSError):  # it has no reader, and nothing can be said about that
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]


class JsonFormatter(logging.Formatter):
    """One JSON object a record, of 4,095 bytes at most: long texts lose their middle.

    time (RFC 3339, UTC), level, logger, pid, message; exception, if there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, str | int | None] = {
            "time": rfc_3339(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        exception = self.formatException(record.exc_info) if record.exc_info else ""
        if record.stack_info:
            exception = f"{exception}\n{record.stack_info}".lstrip()
        if exception:
            fields["exception"] = exception
        return _fitting(fields)


def rfc_3339(seconds: float) -> str:
    """Return a time since the epoch in UTC, with microseconds."""
    second, microseconds = divmod(round(seconds * 1e6), 1_000_000)
    return f"{_of_second(second)}.{microseconds:06}Z"


@lru_cache(4)  # lines come by the hundred in a second
def _of_second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _fitting(fields: dict[str, str | int | None]) -> str:
    line = json.dumps(fields, ensure_ascii=False)
    for name in ("exception", "message"):
        text = str(fields.get(name, ""))
        while _size(line) >= MOST_BYTES and len(text) > _SHORTEST:
            half = len(text) * 2 // 5
            text = text[:half] + _CUT + text[-half:]
            fields[name] = text
            line = json.dumps(fields, ensure_ascii=False)
    return line


def _size(line: str) -> int:
    return len(line.encode(errors="replace"))


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
