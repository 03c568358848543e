"""What is written to standard error past the logs, as records of the log.

    TensorFlow, faulthandler, Python itself ─► descriptor 2, a socket ─► a thread of the
    supervisor ─► a record with the writer's process id ─► the standard error that
    people read, to which the logs of all processes go themselves

The supervisor reads for all processes that it starts, so a crash's last words arrive
after the process that has crashed. A supervisor that hangs holds up no other process
for long: the socket then loses what does not fit.
"""

import faulthandler
import logging
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from gomlx.runtime.logs import STDERR, DescriptorHandler, own_handler

log = logging.getLogger("gomlx.stderr")

_READ_BYTES = 1 << 16
_MOST_PARTIAL = 1 << 12  # bytes of a line that has not ended
_MOST_A_SECOND = 1000  # lines; a crash with many threads has hundreds
_JOIN_SECONDS = 5.0
_PAUSE_SECONDS = 1.0  # after which a line counts as ended
_WRITE_TIMEOUT = struct.pack("ll", 0, 100_000)  # seconds, microseconds
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
# Of absl, which TensorFlow and XLA log with, and of TensorFlow before it had absl.
_ABSL = re.compile(
    r"^(?:(?P<level>[IWEF])\d{4} [\d:.]+ +\d+ "
    r"|[\d-]+ [\d:.]+: (?P<older>[IWEF]) )(?P<message>.*)"
)
_LEVELS = {
    "I": logging.DEBUG,  # that TensorFlow has such and such optimizations
    "W": logging.WARNING,
    "E": logging.ERROR,
    "F": logging.CRITICAL,
}
_PREAMBLE = "WARNING: All log messages before absl::InitializeLog()"


@contextmanager
def stray_output_logged() -> Iterator[None]:
    """Log what this process and those that it starts write to standard error.

    Without logs of our own (`log_to_stderr`) nothing changes: they may go there.
    """
    handler = own_handler()
    if handler is None:
        yield
        return
    sides = socket.socketpair()
    reading = threading.Thread(target=StrayReader(sides[0]).run, daemon=True)
    reading.start()
    try:
        with _in_place_of_stderr(sides[1], handler):
            yield
    finally:
        sides[1].shutdown(socket.SHUT_RDWR)  # processes that are left may hold it
        reading.join(_JOIN_SECONDS)
        sides[1].close()


@contextmanager
def _in_place_of_stderr(
    substitute: socket.socket, handler: DescriptorHandler
) -> Iterator[None]:
    substitute.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _WRITE_TIMEOUT)
    people_read = os.dup(STDERR)
    was_enabled = faulthandler.is_enabled()
    handler.descriptor = people_read
    if not was_enabled:
        faulthandler.enable(people_read)  # for who reads the rest is this process
    os.dup2(substitute.fileno(), STDERR)
    try:
        yield
    finally:
        os.dup2(people_read, STDERR)
        if not was_enabled:
            faulthandler.disable()
        handler.descriptor = STDERR
        os.close(people_read)


class StrayLine(NamedTuple):
    """What a line that a library has written says, and how bad that is."""

    level: int
    message: str

    @classmethod
    def parse(cls, text: str) -> "StrayLine":
        """Parse a line of absl's; of any other the text is the message."""
        found = _ABSL.match(text)
        if found is None:
            is_fatal = text.startswith("Fatal Python error")
            return cls(logging.CRITICAL if is_fatal else logging.WARNING, text)
        return cls(_LEVELS[found["level"] or found["older"]], found["message"])


class StrayReader:
    """Reads what several processes write to one socket, and logs it line by line."""

    def __init__(self, source: socket.socket) -> None:
        self._source = source
        self._partial: dict[int, bytes] = {}  # the last line of each process
        self._second = 0
        self._lines = 0  # in this second
        source.settimeout(_PAUSE_SECONDS)
        if hasattr(socket, "SO_PASSCRED"):
            source.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def run(self) -> None:
        """Read until the socket is shut down."""
        with self._source:
            while self._read():
                pass
        self._end_lines()

    def _end_lines(self) -> None:
        for pid, rest in self._partial.items():
            self._log(pid, rest)
        self._partial.clear()

    def _read(self) -> bool:
        size = socket.CMSG_SPACE(_CREDENTIALS.size)
        try:
            data, ancillary, *_ = self._source.recvmsg(_READ_BYTES, size)
        except TimeoutError:
            self._end_lines()
            return True
        pid = 0
        for _, kind, content in ancillary:
            if kind == getattr(socket, "SCM_CREDENTIALS", None):
                pid, *_ = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])
        *lines, rest = (self._partial.pop(pid, b"") + data).split(b"\n")
        for line in lines:
            self._log(pid, line)
        if len(rest) > _MOST_PARTIAL:
            self._log(pid, rest)
        elif rest:
            self._partial[pid] = rest
        return bool(data)

    def _log(self, pid: int, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if text and not text.startswith(_PREAMBLE) and self._has_room():
            found = StrayLine.parse(text)
            if log.isEnabledFor(found.level):
                log.handle(_record(pid, found))

    def _has_room(self) -> bool:
        """Whether this second has had few lines: a library may write without end."""
        second = int(time.monotonic())
        if second != self._second:
            if self._lines > _MOST_A_SECOND:
                lost = self._lines - _MOST_A_SECOND
                log.warning("%d lines of standard error were dropped", lost)
            self._second = second
            self._lines = 0
        self._lines += 1
        return self._lines <= _MOST_A_SECOND


def _record(pid: int, line: StrayLine) -> logging.LogRecord:
    record = log.makeRecord(log.name, line.level, "", 0, line.message, (), None)
    if pid:
        record.process = pid
    return record
