"""What the kernel says of a process that was made a guest."""

import ctypes
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gomlx.supervisor.guest import make_guest, relieve

_IOPRIO_GET = {"x86_64": 252, "aarch64": 31}
_OF_PROCESS = 1


@pytest.fixture
def group() -> Iterator[int]:
    """A process that leads a session of its own."""
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def nice_of(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def session_nice_of(pid: int) -> str:
    return Path(f"/proc/{pid}/autogroup").read_text().split()[-1]


def may_be_less_nice() -> bool:
    """Whether this user may take back what it was nice by."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            os.setpriority(os.PRIO_PROCESS, process.pid, 19)
            os.setpriority(os.PRIO_PROCESS, process.pid, 5)
        except PermissionError:
            return False
        finally:
            process.kill()
    return True


def test_a_guest_has_what_others_leave(group: int) -> None:
    make_guest(group)
    assert nice_of(group) == 19
    adjusted = int(Path(f"/proc/{group}/oom_score_adj").read_text())
    assert adjusted == max(500, int(Path("/proc/self/oom_score_adj").read_text()))


@pytest.mark.skipif(
    os.uname().machine not in _IOPRIO_GET, reason="its system calls are not known"
)
def test_the_disks_serve_others_first(group: int) -> None:
    make_guest(group)
    number = _IOPRIO_GET[os.uname().machine]
    found = ctypes.CDLL(None).syscall(number, _OF_PROCESS, group)
    assert found >> 13 == 3


@pytest.mark.skipif(
    not Path("/proc/self/autogroup").exists(), reason="this kernel has no autogroups"
)
def test_a_session_has_a_nice_value_too(group: int) -> None:
    make_guest(group)
    assert session_nice_of(group) == "19"


def test_a_guest_that_starves_gets_more(group: int) -> None:
    make_guest(group)
    relieve(group)
    assert nice_of(group) == (5 if may_be_less_nice() else 19)


def test_what_is_refused_is_told_to_those_who_look_closely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()
        with caplog.at_level(logging.DEBUG):
            make_guest(process.pid)
    assert "a staging process goes on without nice 19: " in caplog.text
    assert "a staging process goes on without oom_score_adj: " in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
