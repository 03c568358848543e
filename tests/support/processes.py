"""The processes of a service, seen from outside."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol


class Restartable(Protocol):
    """A process that can be stopped and started."""

    def start(self) -> None:
        """Start it."""

    def stop(self) -> object:
        """Stop it, and wait until it has ended."""


@contextmanager
def restarting(process: Restartable, sign: Path) -> Iterator[str]:
    """Yield a command of the shell that restarts it, by a file that it makes."""
    done = threading.Event()

    def restart() -> None:
        while not done.wait(0.1):
            if sign.exists():
                process.stop()
                process.start()
                sign.unlink()

    thread = threading.Thread(target=restart)
    thread.start()
    try:
        yield f"touch {sign}; while [ -e {sign} ]; do sleep 0.1; done"
    finally:
        done.set()
        thread.join()


def is_running(pid: int) -> bool:
    return state_of(pid) not in ("", "Z")


def is_suspended(pid: int) -> bool:
    return state_of(pid) in ("T", "Z", "")


def state_of(pid: int) -> str:
    """Return the kernel's state of a process: R, S, T (stopped), Z…; "" if it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes_of(folder: Path) -> list[int]:
    """Return every process whose command line names the folder."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and int(path.name) != os.getpid():
            try:
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if bytes(folder) in command and is_running(int(path.name)):
                found.append(int(path.name))
    return found


def processes_in(folder: Path) -> list[int]:
    """Return every process whose working directory is a folder: all of a service."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "cwd").readlink() == folder and is_running(int(path.name)):
                found.append(int(path.name))
    return found
