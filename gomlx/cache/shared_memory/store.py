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
                               (0 or 1); a byte: the part that rotates next

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

import lmdb

from gomlx.errors import StoreUnavailable

log = logging.getLogger(__name__)

FORMAT = b"2"
PARTS = 8
TABLES = [(b"%da" % part, b"%db" % part) for part in range(PARTS)]
META = b"meta"
_CHECK = "gomlx.cache.shared_memory.check"
_MAX_READERS = 1024
_PATIENCE_SECONDS = 5.0  # until the processes of a killed service have ended


def create_store(directory: Path, size_bytes: int) -> None:
    """Make an empty store in place of whatever is there, and reserve all of its space.

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
        return True
    log.warning("%s: begins empty: %s", directory.name, flaw)
    if directory.is_symlink() or not directory.is_dir():
        directory.unlink()
    else:
        shutil.rmtree(directory, ignore_errors=True)
    return False


def _flaw(directory: Path, size_bytes: int, patience_seconds: float) -> str:
    """Return why a store cannot be kept, or nothing."""
    if flaw := _flaw_of_files(directory, size_bytes):
        return flaw
    with (directory / "users").open("rb") as users:
        lock = users.fileno()
        if not _locked(lock, fcntl.LOCK_EX, patience_seconds):
            return "processes of an earlier run still use it"
        # No reader and no writer of an earlier run is alive.
        (directory / "lock.mdb").unlink(missing_ok=True)
        return _damage(directory, size_bytes, lock)


def _flaw_of_files(directory: Path, size_bytes: int) -> str:
    for path, is_kind in (
        (directory, stat.S_ISDIR),
        (directory / "users", stat.S_ISREG),
        (directory / "data.mdb", stat.S_ISREG),
    ):
        found = path.lstat()
        if not is_kind(found.st_mode) or found.st_mode & 0o077:
            return f"{path.name} is of another kind, or others may open it"
        if found.st_uid != os.geteuid():
            return f"{path.name} belongs to user {found.st_uid}"
    if found.st_size != size_bytes or found.st_blocks * 512 < size_bytes:
        return f"it does not take the {size_bytes >> 20} MB of memory_mb"
    return ""


def _damage(directory: Path, size_bytes: int, lock: int) -> str:
    """Check the pages in a process of its own: LMDB may crash over damaged ones."""
    check = subprocess.run(
        [sys.executable, "-m", _CHECK, str(directory), str(size_bytes)],
        capture_output=True,
        text=True,
        pass_fds=[lock],  # no other process opens the store while it lives
        check=False,
    )
    if check.returncode < 0:
        return f"the check was killed by signal {-check.returncode}"
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
