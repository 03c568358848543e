"""Writes large files without keeping a disk busy for others.

The kernel keeps what is written in memory, and then writes all of it at once: hundreds
of megabytes, behind which every other write waits.
"""

import ctypes
import sys
from pathlib import Path
from types import TracebackType

PIECE_BYTES = 4 << 20
_UNWRITTEN_BYTES = 16 << 20  # in memory at most, and not on the disk
_WRITE = 2  # of sync_file_range(2): begin to write
_WAIT = 1 | 2 | 4  # until it is written


class FlushedFile:
    """A new file, as a context manager, whose pieces go to the disk as they come."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb", buffering=0)
        self._begun = 0  # bytes that the kernel was told to write
        self._size = 0

    def __enter__(self) -> "FlushedFile":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def write(self, data: "bytes | memoryview") -> None:
        """Append data, of any size. Raises OSError."""
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[self._write(rest[:PIECE_BYTES]) :]

    def _write(self, piece: memoryview) -> int:
        count = self._file.write(piece)
        self._size += count
        if self._size - self._begun >= PIECE_BYTES:
            _sync(self._file.fileno(), self._begun, self._size, _WRITE)
            self._begun = self._size
            behind = self._begun - _UNWRITTEN_BYTES
            if behind > 0:
                _sync(self._file.fileno(), max(behind - PIECE_BYTES, 0), behind, _WAIT)
        return count


def _sync(descriptor: int, first: int, end: int, how: int) -> None:
    """Write a part of a file to its disk. Where that cannot be asked for, do nothing.

    What is not on the disk is lost only with the machine, and is staged anew then.
    """
    if sys.platform == "linux":
        call = ctypes.CDLL(None).sync_file_range
        begin = ctypes.c_int64(first)
        call(descriptor, begin, ctypes.c_int64(end - first), ctypes.c_uint(how))


def copy_links(folder: Path) -> None:
    """Replace symbolic links below a folder by the files that they name."""
    for path in folder.rglob("*"):
        if path.is_symlink():
            target = path.resolve()
            path.unlink()
            with target.open("rb", buffering=0) as source, FlushedFile(path) as copy:
                while piece := source.read(PIECE_BYTES):
                    copy.write(piece)
