"""Priorities of a process that must not disturb those that answer: a guest.

What the kernel refuses (in a container, without the rights, on another system) is left
as it is: a guest of another priority stages the same version.
"""

import ctypes
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

log = logging.getLogger(__name__)

_NICEST = 19
_PATIENT = 5
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
    _set_nice(group, _NICEST)
    with _refusable("an idle priority for disks"):
        _set_idle_io(group)
    with _refusable("oom_score_adj"):
        path = Path(f"/proc/{group}/oom_score_adj")
        path.write_text(str(max(int(path.read_text()), _OOM_SCORE)))


def relieve(group: int) -> None:
    """Let a guest have a little more: a processor that is never idle starves it."""
    _set_nice(group, _PATIENT)


def _set_nice(group: int, nice: int) -> None:
    """Set it for the threads of a process group, and for its session.

    The kernel shares a processor among sessions first (sched(7), autogroup).
    """
    with _refusable(f"nice {nice}"):
        os.setpriority(os.PRIO_PGRP, group, nice)
    with _refusable(f"nice {nice} for its session"):
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
