"""What tests leave behind: processes, network namespaces, stores in shared memory.

A run of the tests has a mark, which all processes that it starts inherit as a variable
of their environment. At its end none of them may be left. What a run leaves that is
killed, the next one removes.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from gomlx.runtime.rundir import RunDir

VARIABLE = "TESTS_RUN_BY"  # in the environment; also a file in its folder
_NAMESPACES = Path("/run/netns")
_NAMES = Path("/etc/netns")  # of hosts in a namespace
# They end with this process, and not before.
_OWN = (b"multiprocessing.resource_tracker", b"multiprocessing.forkserver")


def mark_of(pid: int) -> str:
    """Return what distinguishes a process from others that had its id; "": none has."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{pid}.{fields[19]}"  # with the time at which it started


def is_dead(mark: str) -> bool:
    """Whether the process has ended that had a mark."""
    return mark_of(int(mark.partition(".")[0])) != mark


def marked(wanted: Callable[[str], bool]) -> dict[int, str]:
    """Return the processes that a run has started, by their ids: their commands."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (path / "cmdline").read_bytes()
            mark = _mark_in((path / "environ").read_bytes())
            is_own = any(name in command for name in _OWN)
            if mark and not is_own and wanted(mark):
                found[int(path.name)] = command.replace(b"\0", b" ").decode()
    return found


def _mark_in(environment: bytes) -> str:
    name = f"{VARIABLE}=".encode()
    variables = environment.split(b"\0")
    return next((x[len(name) :].decode() for x in variables if x.startswith(name)), "")


def namespaces(wanted: Callable[[int], bool]) -> list[str]:
    """Return the network namespaces that processes with some ids have made."""
    names = [path.name for path in _NAMESPACES.glob("gomlx-*-*")]
    return [x for x in names if (y := x.split("-")[1]).isdecimal() and wanted(int(y))]


def kill(pids: dict[int, str]) -> None:
    """Kill processes."""
    for pid in pids:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def remove(names: list[str]) -> None:
    """Remove network namespaces."""
    for name in names:
        subprocess.run(("ip", "netns", "del", name), capture_output=True, check=False)
        shutil.rmtree(_NAMES / name, ignore_errors=True)


def remove_stores(folder: Path) -> None:
    """Remove what services with a run directory in a folder have in shared memory."""
    for lock in folder.rglob("lock"):
        shutil.rmtree(RunDir(lock.parent).shared, ignore_errors=True)


def remove_those_of_killed_runs(temporary: Path) -> None:
    """Remove all that runs have left whose folders are where pytest makes them."""
    kill(marked(is_dead))
    remove(namespaces(lambda pid: not mark_of(pid)))
    for folder in _of_dead(temporary):
        remove_stores(folder)
        with suppress(OSError):
            (folder / VARIABLE).unlink()


def _of_dead(temporary: Path) -> Iterator[Path]:
    """Yield the folders of runs that were killed: one that ends removes its mark."""
    for own in ("pytest-of-*/*", "pytest-of-*/*/popen-*"):  # by pytest, and by xdist
        for file in temporary.glob(f"{own}/{VARIABLE}"):
            with suppress(OSError):  # another run removes the same
                if is_dead(file.read_text()):
                    yield file.parent
