"""The run directory: the files that the processes of one service share.

    lock                 held by the supervisor; says whose directory this is
    config.json          the config as it was checked (it may hold secrets)
    manifest.json        which versions should be live (models.version.Manifest)
    models/ID/DIGEST/    staged versions
    workers/PID          workers that take SIGUSR2
    slots/N              locks: each worker holds one, its stable number
    metrics/             counters of all workers, a file a slot and kind

Shared memory stands apart, in /dev/shm, under a name made from the directory's: the
datastores, and what the workers have counted since the start (metrics/tally.py). Of a
directory that the config names the datastores outlive the service, so that the next
one is warm.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "gomlx-"


class RunDirInUse(Exception):
    """Another service runs in this directory."""


@dataclass(frozen=True)
class RunDir:
    """The paths below one run directory."""

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "config.json"

    @property
    def manifest(self) -> Path:
        return self.root / "manifest.json"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def workers(self) -> Path:
        return self.root / "workers"

    @property
    def metrics(self) -> Path:
        return self.root / "metrics"

    @property
    def slots(self) -> Path:
        return self.root / "slots"

    @property
    def shared(self) -> Path:
        """Where this service's stores live; on a machine without /dev/shm, on disk."""
        if not SHARED_MEMORY.is_dir():
            return self.root / "shared"
        name = blake2b(bytes(self.root.resolve()), digest_size=8).hexdigest()
        return SHARED_MEMORY / f"{_PREFIX}{os.getuid()}-{name}"

    @property
    def tallies(self) -> Path:
        """The directory of what workers have counted; no datastore's name."""
        return self.shared / ".tallies"

    def store(self, datastore: str) -> Path:
        """The directory of a datastore's L1."""
        return self.shared / datastore

    def keep_stores(self, names: Collection[str]) -> None:
        """Keep an earlier run's stores of these names, in a folder that is ours alone.

        Raises FileExistsError if another user has made that folder.
        """
        if not names or not _is_ours_alone(self.shared):
            _remove(self.shared)
        if names:
            self.shared.mkdir(mode=0o700, exist_ok=_is_ours_alone(self.shared))
            for path in self.shared.iterdir():
                if path.name not in names:
                    _remove(path)


class Lease:
    """A run directory that this process holds, from `take` to `release`."""

    def __init__(self, rundir: RunDir, lock: int, is_temporary: bool) -> None:
        self.rundir = rundir
        self._lock, self._is_temporary = lock, is_temporary

    @classmethod
    def take(cls, root: Path | None) -> "Lease":
        """Make the directory if need be, and empty it of what only a run needs.

        Without a root it is a fresh one below the temporary directory, and those
        there that killed services left behind are removed. Raises RunDirInUse.
        """
        is_temporary = root is None
        if root is None:
            _sweep()
            root = Path(tempfile.mkdtemp(prefix=_PREFIX))
        rundir = RunDir(root)
        rundir.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(root.iterdir()) and not (root / "lock").is_file():
            raise RunDirInUse(f"run_dir {root} holds files that are not ours")
        lock = os.open(rundir.root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        if not _locked(lock):
            holder = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise RunDirInUse(f"{root} is in use by process {holder}")
        os.truncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        _clear(rundir)
        for path in (rundir.models, rundir.workers, rundir.metrics, rundir.slots):
            path.mkdir(exist_ok=True)
        return cls(rundir, lock, is_temporary)

    def release(self) -> None:
        """Remove what only a run needs; a directory of our own making, whole."""
        _clear(self.rundir)
        if self._is_temporary:
            _remove(self.rundir.shared)
            _remove(self.rundir.root)
        else:
            with suppress(OSError):
                self.rundir.shared.rmdir()  # unless there are datastores in it
        os.close(self._lock)


def take_slot(rundir: RunDir) -> tuple[int, int]:
    """Hold the lowest free worker slot until this process ends: (slot, lock)."""
    slot = 0
    while True:
        lock = os.open(rundir.slots / str(slot), os.O_RDWR | os.O_CREAT, 0o600)
        if _locked(lock):
            return slot, lock
        os.close(lock)
        slot += 1


def _locked(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _clear(rundir: RunDir) -> None:
    rundir.manifest.unlink(missing_ok=True)
    rundir.config.unlink(missing_ok=True)
    for path in (rundir.workers, rundir.metrics, rundir.slots, rundir.tallies):
        shutil.rmtree(path, ignore_errors=True)


def _is_ours_alone(directory: Path) -> bool:
    """True for a real directory that nobody else may write to, or look into."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return False
    is_private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    return is_private and found.st_uid == os.geteuid()


def _remove(path: Path) -> None:
    """Remove a file, a link or a directory, if it is there and may be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _sweep() -> None:
    """Remove the temporary run directories of services that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        if path.is_symlink() or not path.is_dir() or path.stat().st_uid != os.getuid():
            continue
        try:
            lock = os.open(path / "lock", os.O_RDWR)
        except OSError:
            continue
        if _locked(lock):
            shutil.rmtree(RunDir(path).shared, ignore_errors=True)
            shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def write_privately(path: Path, data: bytes) -> None:
    """Write a file that only this user may read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(data)
