"""Priorities of a process that must not disturb those that answer: a guest.

What the kernel refuses (in a container, without the rights, on another system) is left
as it is: a guest of another priority stages the same version.
"""

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

log = logging.getLogger(__name__)

_NICEST = 19
_PATIENT = 5
_LASTING = 10  # where it cannot be taken back: not to starve
_CAP_SYS_NICE = 23  # capabilities(7)
_OOM_SCORE = 500  # of 1000: it is ended before what serves
_IOPRIO_SET = {"x86_64": 251, "aarch64": 30}  # system calls
_OF_GROUP = 2  # IOPRIO_WHO_PGRP
_IDLE = 3 << 13  # IOPRIO_CLASS_IDLE
# Of whatever library computes, from the moment it is imported.
ONE_THREAD = dict.fromkeys(
    (
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "TF_NUM_INTRAOP_THREADS",
        "TF_NUM_INTEROP_THREADS",
    ),
    "1",
)


def make_guest(group: int) -> None:
    """Let a process have what others leave of the processors and the disks.

    group: its id, if it leads a session of its own. It is also the first that the
    kernel ends when memory runs out.
    """
    nice = _NICEST if _may_take_back() else _LASTING
    with _refusable(f"nice {nice}"):
        os.setpriority(os.PRIO_PGRP, group, nice)
    with _refusable(f"nice {_NICEST} for its session"):
        _set_session_nice(group, _NICEST)
    with _refusable("an idle priority for disks"):
        _set_idle_io(group)
    with _refusable("oom_score_adj"):
        path = Path(f"/proc/{group}/oom_score_adj")
        path.write_text(str(max(int(path.read_text()), _OOM_SCORE)))


def relieve(group: int) -> bool:
    """Let a guest have a little more: a processor that is never idle starves it.

    Returns whether that is settled: the kernel may ask to try again in 0.1 s.
    """
    with _refusable(f"nice {_PATIENT}"):
        os.setpriority(os.PRIO_PGRP, group, _PATIENT)
    with _refusable(f"nice {_PATIENT} for its session"):
        try:
            _set_session_nice(group, _PATIENT)
        except BlockingIOError:
            return False
    return True


def _may_take_back() -> bool:
    """Whether this process may make others less nice again."""
    status = Path("/proc/self/status")
    with suppress(OSError):
        for line in status.read_text().splitlines():
            if line.startswith("CapEff:"):
                capabilities = int(line.split()[1], 16)
                return bool(capabilities >> _CAP_SYS_NICE & 1)
    return False


def _set_session_nice(group: int, nice: int) -> None:
    """Set it for a session: the kernel shares a processor among these first.

    sched(7), autogroup. Raises OSError.
    """
    Path(f"/proc/{group}/autogroup").write_text(str(nice))


def _set_idle_io(group: int) -> None:
    """Have its reads and writes wait for those of others. Raises OSError."""
    number = _IOPRIO_SET.get(os.uname().machine)
    if number is None or sys.platform != "linux":
        raise OSError("the number of the system call is not known here")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, _OF_GROUP, group, _IDLE):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@contextmanager
def _refusable(what: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        log.debug("a staging process goes on without %s: %s", what, error)
