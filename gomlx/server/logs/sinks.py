"""Where lines go: a file that is rotated, or the standard output of all workers.

For the thread of a writer: a disk, or who reads a pipe, may take any time.
"""

import fcntl
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Protocol

_STDOUT = 1


class Sink(Protocol):
    """Takes whole lines."""

    def write(self, lines: bytes) -> None:
        """Write some lines. Raises OSError; then none of them may be there."""


class RotatingFile:
    """A file of one worker: FILE, and FILE.1 (newer) to FILE.keep that were full.

    It is mode 0600. One that others move or remove is made anew. A line that a crash or
    a full disk has cut does not spoil the next one. A FIFO is written to as it is.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor = -1
        self._is_file = False
        self._size = 0  # of a file

    def write(self, lines: bytes) -> None:
        """Write some lines. Raises OSError; then none of them may be there."""
        self._open_if_moved()
        if self._size and self._size + len(lines) > self._max_bytes:
            self._rotate()
            self._open_if_moved()
        try:
            _write_all(self._descriptor, lines)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        if self._is_file:
            self._size += len(lines)

    def _open_if_moved(self) -> None:
        if self._descriptor >= 0:
            with suppress(FileNotFoundError):
                here = os.stat(self._path)
                ours = os.fstat(self._descriptor)
                if (here.st_dev, here.st_ino) == (ours.st_dev, ours.st_ino):
                    return
            os.close(self._descriptor)
            self._descriptor = -1
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._descriptor = os.open(self._path, flags, 0o600)
        status = os.fstat(self._descriptor)
        self._is_file = stat.S_ISREG(status.st_mode)
        self._size = status.st_size if self._is_file else 0
        if self._size and not _ends_a_line(self._path):
            self._size += os.write(self._descriptor, b"\n")

    def _rotate(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1
        for number in range(self._keep, 0, -1):
            newer = self._numbered(number - 1) if number > 1 else self._path
            with suppress(FileNotFoundError):
                os.replace(newer, self._numbered(number))
        if not self._keep:
            os.unlink(self._path)

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


class SharedOutput:
    """Standard output, which all workers write to, one at a time.

    lock: the path of a file of theirs. Long lines would be mixed in a pipe otherwise.
    """

    def __init__(self, lock: Path) -> None:
        self._lock = lock
        self._descriptor = -1

    def write(self, lines: bytes) -> None:
        """Write some lines. Raises OSError."""
        if self._descriptor < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._descriptor = os.open(self._lock, flags, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        try:
            _write_all(_STDOUT, lines)
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() == b"\n"


def _write_all(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
