"""A store of L1: a directory in shared memory, one per datastore and host.

    data.mdb    LMDB's pages; all of its space is reserved
    lock.mdb    LMDB's readers and its writer's lock
    users       empty; locked (flock) by every process that has the store open, and
                exclusively by the one that decides whether to keep it
    writer      empty; locked (flock) by the process that writes, before LMDB's own lock

Tables in data.mdb:

    "0a", "0b" … "7a", "7b"    key (16 bytes) → expiry (8 bytes, a little-endian double,
                               seconds since 1970) + answer + CRC-32 (4 bytes,
                               little-endian) of key, expiry and answer
    "meta"                     "format" → FORMAT
                               "state" → a byte a part: which of its tables is young
                               (0 or 1); a byte: the part that is to rotate next

Not safe: opening a store before a fork, or twice in one process.
"""

import fcntl
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import IO
from zlib import crc32

import lmdb

from gomlx.errors import StoreUnavailable

log = logging.getLogger(__name__)

FORMAT = b"2"
PARTS = 8
TABLES = [(b"%da" % part, b"%db" % part) for part in range(PARTS)]
META = b"meta"
EXPIRY_BYTES, CHECKSUM_BYTES = 8, 4
_CHECK = "gomlx.cache.shared_memory.check"
_MAX_READERS = 1024
_PATIENCE_SECONDS = 5.0  # for processes of a killed service to end


def create_store(directory: Path, size_bytes: int) -> None:
    """Make an empty store in place of what is there, and reserve all of its space.

    Raises StoreUnavailable when the file system has too little: writing past its
    end later would be a SIGBUS instead of an error.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    free = shutil.disk_usage(directory.parent).free
    new = Path(tempfile.mkdtemp(prefix=".new-", dir=directory.parent))
    try:
        if free < size_bytes:
            raise OSError("too little space")
        (new / "users").touch(0o600)
        _fill(new, size_bytes)
        new.rename(directory)  # whole or not at all
    except (OSError, lmdb.Error) as error:
        shutil.rmtree(new, ignore_errors=True)
        raise StoreUnavailable(
            f"{directory.parent}: cannot reserve {size_bytes >> 20} MB of shared "
            f"memory, {free >> 20} MB are free ({error}); lower memory_mb of the "
            "datastore, or give /dev/shm more (docker run --shm-size=…)"
        ) from None


def _fill(directory: Path, size_bytes: int) -> None:
    with environment(directory, size_bytes) as opened:
        for table in (*(name for pair in TABLES for name in pair), META):
            opened.open_db(table)
        with opened.begin(write=True, db=opened.open_db(META)) as transaction:
            transaction.put(b"format", FORMAT)
            transaction.put(b"state", bytes(PARTS + 1))
    with (directory / "data.mdb").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, size_bytes)


def environment(directory: Path, size_bytes: int) -> lmdb.Environment:
    """Open LMDB's files."""
    return lmdb.open(
        str(directory),
        map_size=size_bytes,
        max_dbs=2 * PARTS + 1,
        max_readers=_MAX_READERS,
        mode=0o600,
        writemap=True,  # the file is memory anyway
        sync=False,
        metasync=False,
    )


def checksum(key: bytes, rest: bytes) -> bytes:
    """Return what ends an entry; rest is its expiry and answer."""
    return crc32(key + rest).to_bytes(CHECKSUM_BYTES, "little")


def open_store(directory: Path) -> tuple[lmdb.Environment, IO[bytes]]:
    """Open a store; it is in use until both that are returned are closed.

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
        opened = environment(directory, (directory / "data.mdb").stat().st_size)
        if not os.path.samestat(os.fstat(users.fileno()), (directory / "users").stat()):
            opened.close()
            raise StoreUnavailable(f"{directory}: another service has replaced it")
    except BaseException:
        users.close()
        raise
    return opened, users


class WriterLock:
    """The right to write, which LMDB's own lock can only be waited for.

    The kernel frees that of a process that dies. For one thread at a time.
    """

    def __init__(self, directory: Path) -> None:
        self._file = (directory / "writer").open("ab")

    def take(self) -> None:
        """Wait until no other process writes."""
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def take_now(self) -> bool:
        """Take it, unless another process writes."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        self._file.close()


def adopt_store(directory: Path, size_bytes: int) -> bool:
    """Keep the store that an earlier run has left, if it is sound; else remove it."""
    if not directory.is_symlink() and not directory.exists():
        return False
    try:
        flaw = _flaw(directory, size_bytes)
    except OSError as error:
        flaw = str(error)
    if not flaw:
        return True
    log.warning("%s: begins empty: %s", directory.name, flaw)
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink()
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return False


def _flaw(directory: Path, size_bytes: int) -> str:
    """Say why a store cannot be kept, or nothing."""
    for path, is_kind in (
        (directory, stat.S_ISDIR),
        (directory / "users", stat.S_ISREG),
        (directory / "data.mdb", stat.S_ISREG),
    ):
        found = path.lstat()
        if not is_kind(found.st_mode) or found.st_mode & 0o077:
            return f"{path.name} is not what it was, or not for us alone"
        if found.st_uid != os.geteuid():
            return f"{path.name} belongs to user {found.st_uid}"
    if found.st_size != size_bytes or found.st_blocks * 512 < size_bytes:
        return f"it has not the {size_bytes >> 20} MB that memory_mb says"
    with (directory / "users").open("rb") as users:
        lock = users.fileno()
        if not _locked(lock, fcntl.LOCK_EX, _PATIENCE_SECONDS):
            return "processes of an earlier run still use it"
        # Its readers and its writer are gone.
        (directory / "lock.mdb").unlink(missing_ok=True)
        return _damage(directory, size_bytes, lock)


def _damage(directory: Path, size_bytes: int, lock: int) -> str:
    """Have a process of its own check the pages: LMDB may crash over damaged ones."""
    check = subprocess.run(
        [
            sys.executable,
            "-m",
            _CHECK,
            str(directory),
            str(size_bytes),
        ],
        capture_output=True,
        text=True,
        pass_fds=[lock],  # nobody else opens the store while it lives
        check=False,
    )
    if check.returncode < 0:
        return f"the check was ended by signal {-check.returncode}"
    if check.returncode:
        return (check.stderr.strip() or "the check failed").splitlines()[-1]
    log.info("%s: %s", directory.name, check.stdout.strip())
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
