"""CPU, memory and cores of processes, as /proc has them."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

_NICE = -15
_AUTOGROUP = Path("/proc/self/autogroup")
_OPEN = "01"  # a socket's state, in /proc/net/tcp
_TICK = os.sysconf("SC_CLK_TCK")


class Memory(NamedTuple):
    """Megabytes. pss: memory that n processes share counts as one n-th."""

    rss: float
    pss: float


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the CPU time of all threads of processes, in user and system mode."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICK


def memory(pids: Iterable[int]) -> Memory:
    """Return the memory of processes, summed."""
    sums = {"Rss:": 0, "Pss:": 0}
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(" ")
            if name in sums:
                sums[name] += int(rest.split()[0])
    return Memory(sums["Rss:"] / 1024, sums["Pss:"] / 1024)


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return list(map(int, found))


def family(pid: int) -> list[int]:
    """Return a process and all its descendants."""
    return [pid, *(p for child in children(pid) for p in family(child))]


def peers(port: int, pids: Iterable[int] | None = None) -> set[int]:
    """Return the clients' ports of the open IPv4 connections to a port of this host.

    pids: only of connections that these processes hold; None: of all, also of those
    that nobody has accepted yet.
    """
    wanted = None if pids is None else {*_sockets(pids)}
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        local, remote, state, inode = (line.split()[n] for n in (1, 2, 3, 9))
        is_there = int(local.partition(":")[2], 16) == port and state == _OPEN
        if is_there and (wanted is None or inode in wanted):
            found.add(int(remote.partition(":")[2], 16))
    return found


def _sockets(pids: Iterable[int]) -> Iterator[str]:
    """Yield the inodes of the sockets of processes."""
    for pid in pids:
        for link in descriptors(pid):
            if link.startswith("socket:["):
                yield link[len("socket:[") : -1]


def descriptors(pid: int) -> list[str]:
    """Return what the open descriptors of a process are; nothing if it has ended."""
    found = []
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(path.readlink()))
    return found


def cores() -> list[int]:
    """Return the cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def pin(pid: int, wanted: Iterable[int]) -> None:
    """Keep all threads of a process on these cores, with this process's priority."""
    if nice := _autogroup_nice():
        Path(f"/proc/{pid}/autogroup").write_text(nice)
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):  # a thread that has ended meanwhile
            os.sched_setaffinity(int(task.name), set(wanted))


def _autogroup_nice() -> str:
    """Return this session's niceness; nothing where Linux does not group by session."""
    try:
        words = _AUTOGROUP.read_text().split()
    except OSError:
        return ""
    return words[-1] if words else ""


@contextmanager
def on(wanted: Iterable[int]) -> Iterator[None]:
    """Run on these cores, as do processes that are started meanwhile."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, set(wanted))
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def prefer() -> Callable[[], None]:
    """Give this process and its children priority; return a function that ends it.

    Where Linux groups processes by session, niceness counts only within a session, so
    the group itself gets a priority, too.
    """
    os.setpriority(os.PRIO_PROCESS, 0, _NICE)
    before = _autogroup_nice()

    def end() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 0)
        if before:
            _AUTOGROUP.write_text(before)

    if before:
        _AUTOGROUP.write_text(str(_NICE))
    return end
