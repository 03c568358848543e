"""Set-up that the processes of a service share: signals, files, limits."""

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)
_KILLED_SECONDS = 5  # after SIGXCPU
_OTHER_FILES = 128  # models, stores, metrics, Redis, the manifest


def die_with_parent(parent: int, signum: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent dies (Linux)."""
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signum))
    if os.getppid() != parent:  # the parent died before the call
        os.kill(os.getpid(), signum)


def raise_file_limit() -> None:
    """Let this process and its children open as many files as they may at most."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def limit_memory(more: int) -> None:
    """Let this process allocate so many more bytes than it has, and no others.

    Mapped files, such as weights, and shared memory are no part of it.
    """
    if sys.platform == "linux":
        limit = _allocated() + more
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def limit_cpu(seconds: int) -> None:
    """Have the kernel end this process after so much CPU time: SIGXCPU."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + _KILLED_SECONDS))


def _allocated() -> int:
    """Return the bytes of this process that count for its limit."""
    with open("/proc/self/status") as status:
        (line,) = (line for line in status if line.startswith("VmData:"))
    return int(line.split()[1]) << 10


def most_connections() -> int:
    """Return for how many connections a process has files, beside all else it opens."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(soft - _OTHER_FILES, 1)
