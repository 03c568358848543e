"""The run directory: the files that the processes of one service share.

    lock                 locked by the supervisor; holds its process id
    models/ID/DIGEST/    staged versions

Shared memory is a directory of its own in /dev/shm, whose name is derived from the run
directory's. It holds the datastores, and all that changes while the service runs, so
that a full disk stops nothing but stagings:

    .state/config.json     the validated config (it may hold secrets)
    .state/manifest.json   which versions should be live (models.version.Manifest)
    .state/workers/PID     one file per worker that handles SIGUSR2
    .state/slots/N         one lock per worker: N is the worker's stable number
    .state/metrics/        counts of all workers, one file per slot (metrics/tally.py)
    ID/                    the store of a datastore (cache/shared_memory/store.py)

If the config names the run directory, the datastores outlive the service, so that the
next one starts with a warm cache.
"""

import fcntl
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from gomlx.runtime.cache_folder import run_dirs_folder

log = logging.getLogger(__name__)

SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "gomlx-"


class RunDirInUse(Exception):
    """Another service is running in this run directory."""


class RunDirUnsafe(Exception):
    """Other users may have put something into this run directory, or could."""


@dataclass(frozen=True)
class RunDir:
    """The paths below one run directory."""

    root: Path

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def shared(self) -> Path:
        """The directory in /dev/shm, or below root where there is none."""
        if not SHARED_MEMORY.is_dir():
            return self.root / "shared"
        name = blake2b(bytes(self.root.resolve()), digest_size=8).hexdigest()
        return SHARED_MEMORY / f"{_PREFIX}{os.getuid()}-{name}"

    @property
    def state(self) -> Path:
        """The directory of one run's state. No datastore can have this name."""
        return self.shared / ".state"

    @property
    def config(self) -> Path:
        return self.state / "config.json"

    @property
    def manifest(self) -> Path:
        return self.state / "manifest.json"

    @property
    def draining(self) -> Path:
        """A file that is there while the service drains."""
        return self.state / "draining"

    @property
    def workers(self) -> Path:
        return self.state / "workers"

    @property
    def metrics(self) -> Path:
        return self.state / "metrics"

    @property
    def slots(self) -> Path:
        return self.state / "slots"

    def store(self, datastore: str) -> Path:
        """The directory of a datastore's L1."""
        return self.shared / datastore

    def keep_stores(self, names: Collection[str]) -> None:
        """Keep an earlier run's stores of these names, and remove all others.

        Raises OSError.
        """
        self._make_shared()
        for path in self.shared.iterdir():
            if path.name not in names and path != self.state:
                _remove(path)
        if not names:
            with suppress(OSError):
                self.shared.rmdir()  # fails while it holds the state of a run

    def make_state(self) -> None:
        """Create the directories in shared memory that are missing. Raises OSError."""
        self._make_shared()
        for path in (self.state, self.workers, self.metrics, self.slots):
            path.mkdir(mode=0o700, exist_ok=True)

    def _make_shared(self) -> None:
        """Create the directory in shared memory, private to this user.

        Raises FileExistsError if it belongs to another user.
        """
        if not _is_private(self.shared):
            _remove(self.shared)
        self.shared.mkdir(mode=0o700, exist_ok=_is_private(self.shared))


class Lease:
    """A run directory that this process holds, from `acquire` to `release`."""

    def __init__(self, rundir: RunDir, lock: int, is_temporary: bool) -> None:
        self.rundir = rundir
        self._lock = lock
        self._is_temporary = is_temporary

    @classmethod
    def acquire(cls, root: Path | None) -> "Lease":
        """Create and lock the directory, and clear it of an earlier run's state.

        Without a root, create one in the user's cache folder, and remove those there
        whose services were killed. Raises RunDirInUse, RunDirUnsafe, OSError.
        """
        is_temporary = root is None
        if root is None:
            folder = run_dirs_folder()
            _remove_stale(folder)
            root = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=folder))
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(root.iterdir()) and not (root / "lock").is_file():
            raise RunDirInUse(
                f"run_dir {root} holds files of something else: choose a new directory"
            )
        rundir = RunDir(root)
        _check_owners(rundir)
        lock = _lock_for_this_process(root)
        rundir.models.mkdir(mode=0o700, exist_ok=True)
        rundir.make_state()
        _remove(rundir.state)  # an earlier run's
        rundir.make_state()
        return cls(rundir, lock, is_temporary)

    def release(self) -> None:
        """Remove the state of this run, and the whole directory if it is temporary."""
        _remove(self.rundir.state)
        if self._is_temporary:
            _remove(self.rundir.shared)
            _remove(self.rundir.root)
        else:
            with suppress(OSError):
                self.rundir.shared.rmdir()  # fails while it holds datastores
        os.close(self._lock)


def _check_owners(rundir: RunDir) -> None:
    """Raise RunDirUnsafe unless all of it is this user's and no other can write.

    A staged version is code, and the file `lock` is truncated: what others have put
    there must be neither loaded nor followed.
    """
    root = rundir.root
    found = root.stat()
    if found.st_uid != os.geteuid():
        raise RunDirUnsafe(
            f"run_dir {root} belongs to user {found.st_uid}, and not to this one "
            f"({os.geteuid()}): choose a directory of its own, such as {root}/gomlx"
        )
    if found.st_mode & 0o022:
        raise RunDirUnsafe(
            f"run_dir {root} can be written by other users: look at what is in it, "
            f"then run: chmod 700 {root}"
        )
    for path in (root / "lock", rundir.models, *rundir.models.glob("*")):
        _check_entry(path)
    for version in rundir.models.glob("*/*"):
        _check_entry(version)


def _check_entry(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    is_file = stat.S_ISREG(found.st_mode) and found.st_nlink == 1
    if not is_file and not stat.S_ISDIR(found.st_mode):
        raise RunDirUnsafe(f"{path} is a link, or no file of ours: remove it")
    if found.st_uid != os.geteuid():
        raise RunDirUnsafe(f"{path} belongs to user {found.st_uid}: remove it")


def _lock_for_this_process(root: Path) -> int:
    """Lock a run directory and note our process id in it. Raises RunDirInUse."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
    lock = os.open(root / "lock", flags, 0o600)
    if not _try_lock(lock):
        holder = os.read(lock, 32).decode(errors="replace").strip()
        os.close(lock)
        raise RunDirInUse(f"{root} is in use by process {holder}")
    os.truncate(lock, 0)
    with suppress(OSError):  # no space: it only tells people who holds the lock
        os.write(lock, f"{os.getpid()}\n".encode())
    return lock


class WorkerSlot(NamedTuple):
    """A worker's stable number, and the descriptor whose lock reserves it, or -1."""

    number: int
    lock: int


def claim_slot(rundir: RunDir) -> WorkerSlot:
    """Reserve the lowest free worker slot until this process ends.

    Where none can be reserved, a worker is its own slot: it has to serve all the same.
    """
    number = 0
    while True:
        try:
            lock = os.open(rundir.slots / str(number), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            log.error("cannot reserve a worker slot: %s", error)
            return WorkerSlot(os.getpid(), -1)
        if _try_lock(lock):
            return WorkerSlot(number, lock)
        os.close(lock)
        number += 1


def _try_lock(descriptor: int) -> bool:
    """Lock a file without waiting; return True if that succeeded."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_private(directory: Path) -> bool:
    """True for a real directory of this user that no other user may read or write."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return False
    is_closed = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    return is_closed and found.st_uid == os.geteuid()


def _remove(path: Path) -> None:
    """Remove a file, a link or a directory, if it exists and permissions allow it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _remove_stale(folder: Path) -> None:
    """Remove the temporary run directories of services that were killed."""
    for path in folder.glob(f"{_PREFIX}*"):
        if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
            continue
        try:
            lock = os.open(path / "lock", os.O_RDWR | os.O_NOFOLLOW)
        except OSError:
            continue
        if _try_lock(lock):
            shutil.rmtree(RunDir(path).shared, ignore_errors=True)
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def replace_privately(path: Path, data: bytes) -> None:
    """Write a file that only this user may read or write.

    Atomic: who reads it sees the old or the new one. Raises OSError.
    """
    temporary = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)
