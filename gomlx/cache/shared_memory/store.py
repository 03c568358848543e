"""A store of L1: a directory in shared memory, one per datastore and host.

    ring        the answers; all of its space is reserved
    users       empty; locked (flock) by every process that has the store open, and
                exclusively by the one that decides whether to keep it
    writer      empty; locked (flock) by the process that writes

Not safe: opening a store before a fork.
"""

import fcntl
import logging
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import IO, NamedTuple

from gomlx.cache.shared_memory.geometry import HEADER_BYTES, Geometry
from gomlx.cache.shared_memory.lock import WriterLock
from gomlx.cache.shared_memory.ring import Ring
from gomlx.errors import StoreUnavailable

log = logging.getLogger(__name__)

_ROOM_BYTES = 1 << 20  # to be left for the state of the service (runtime/rundir.py)
_PATIENCE_SECONDS = 5.0  # until the processes of a killed service have ended


class OpenStore(NamedTuple):
    """A store that is in use until it is closed. lock: the right to write to it."""

    ring: Ring
    users: IO[bytes]
    lock: WriterLock

    def flaw(self, directory: Path) -> str:
        """Return why it is no longer the store in its directory, or nothing."""
        try:
            users = (directory / "users").stat()
            ring = (directory / "ring").stat()
        except OSError as error:
            return f"it was removed ({error.strerror})"
        if not os.path.samestat(os.fstat(self.users.fileno()), users):
            return "it was replaced"
        if ring.st_size != len(self.ring.memory):  # before memory is read: a SIGBUS
            return "its file was truncated"
        return self.ring.geometry.flaw_of(self.ring.memory[:HEADER_BYTES])

    def close(self) -> None:
        self.ring.close()
        self.lock.close()
        self.users.close()


def create_store(directory: Path, size_bytes: int) -> None:
    """Make an empty store in place of whatever is there, and reserve all of its space.

    A megabyte is left free. Raises StoreUnavailable when the file system has too
    little: writing past its end later would be a SIGBUS instead of an error.
    """
    _remove(directory)
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(directory.parent).free
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=directory.parent))
    try:
        if free < size_bytes + _ROOM_BYTES:
            raise OSError("1 MB has to be left")
        (new / "users").touch(0o600)
        _fill(new, size_bytes)
        new.rename(directory)  # whole or not at all
    except OSError as error:
        shutil.rmtree(new, ignore_errors=True)
        raise StoreUnavailable(
            f"{directory.parent}: cannot reserve {size_bytes >> 20} MB of shared "
            f"memory, {free >> 20} MB are free ({error}); lower memory_mb of the "
            "datastore, or give /dev/shm more (docker run --shm-size=…)"
        ) from None


def _fill(directory: Path, size_bytes: int) -> None:
    with (directory / "ring").open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        os.posix_fallocate(file.fileno(), 0, size_bytes)
        file.write(Geometry.of(size_bytes).header())


def open_store(directory: Path) -> OpenStore:
    """Open a store.

    Raises StoreUnavailable when it is not there, or while another process decides
    whether to keep it.
    """
    try:
        users = (directory / "users").open("rb")
    except OSError as error:
        raise StoreUnavailable(f"{directory}: {error.strerror}") from None
    try:
        if not _locked(users.fileno(), fcntl.LOCK_SH, 0):
            raise StoreUnavailable(f"{directory}: another service is about to use it")
        store = OpenStore(Ring(directory / "ring"), users, WriterLock(directory))
    except OSError as error:
        users.close()
        raise StoreUnavailable(f"{directory}: {error.strerror}") from None
    except BaseException:
        users.close()
        raise
    if flaw := store.flaw(directory):
        store.close()
        raise StoreUnavailable(f"{directory}: {flaw}")
    return store


def adopt_store(
    directory: Path, size_bytes: int, patience_seconds: float = _PATIENCE_SECONDS
) -> bool:
    """Keep the store of an earlier run if it is sound, and remove it otherwise.

    Return whether it is kept. patience_seconds is how long its last users are waited
    for.
    """
    if not directory.is_symlink() and not directory.exists():
        return False
    try:
        flaw = _flaw(directory, size_bytes, patience_seconds)
    except OSError as error:
        flaw = str(error)
    if not flaw:
        log.info("%s: its answers are kept", directory.name)
        return True
    log.warning("%s: begins empty: %s", directory.name, flaw)
    _remove(directory)
    return False


def _remove(directory: Path) -> None:
    """Remove a store, or whatever has its name."""
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink(missing_ok=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)


def _flaw(directory: Path, size_bytes: int, patience_seconds: float) -> str:
    """Return why a store cannot be kept, or nothing."""
    if flaw := _flaw_of_files(directory, size_bytes):
        return flaw
    with (directory / "users").open("rb") as users:
        lock = users.fileno()
        if not _locked(lock, fcntl.LOCK_EX, patience_seconds):
            return "processes of an earlier run still use it"
        # No reader and no writer of an earlier run is alive. What they left in the
        # index and in the logs needs no check: readers trust none of it.
        with (directory / "ring").open("rb") as ring:
            return Geometry.of(size_bytes).flaw_of(ring.read(HEADER_BYTES))


def flaw_in_use(directory: Path, size_bytes: int) -> str:
    """Return why a store that processes use must be made anew, or nothing."""
    try:
        if flaw := _flaw_of_files(directory, size_bytes):
            return flaw
        with (directory / "ring").open("rb") as ring:
            return Geometry.of(size_bytes).flaw_of(ring.read(HEADER_BYTES))
    except OSError as error:
        return str(error)


def _flaw_of_files(directory: Path, size_bytes: int) -> str:
    for path, is_kind in (
        (directory, stat.S_ISDIR),
        (directory / "users", stat.S_ISREG),
        (directory / "ring", stat.S_ISREG),
    ):
        found = path.lstat()
        if not is_kind(found.st_mode) or found.st_mode & 0o077:
            return f"{path.name} is of another kind, or others may open it"
        if found.st_uid != os.geteuid():
            return f"{path.name} belongs to user {found.st_uid}"
    if found.st_size != size_bytes or found.st_blocks * 512 < size_bytes:
        return f"it does not take the {size_bytes >> 20} MB of memory_mb"
    return ""


def _locked(lock: int, kind: int, patience_seconds: float) -> bool:
    deadline = time.monotonic() + patience_seconds
    while True:
        try:
            fcntl.flock(lock, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.05)
        else:
            return True
