"""The right to write to a store, one process at a time."""

import fcntl
from pathlib import Path


class WriterLock:
    """A lock on the file `writer`. For one thread at a time.

    The kernel releases that of a process that dies.
    """

    def __init__(self, directory: Path) -> None:
        self._file = (directory / "writer").open("ab")

    def acquire(self) -> None:
        """Wait until no other process writes."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
        """Acquire it unless another process writes; return whether it is ours."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let others write."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; nothing may be called afterwards."""
        self._file.close()
