"""What the kernel says of a process that was made a guest."""

import ctypes
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gomlx.supervisor.guest import make_guest, relieve
from tests.support.service import wait_for

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
    """Where that cannot be taken back, it has a little more from the start."""
    make_guest(group)
    assert nice_of(group) == (19 if may_be_less_nice() else max(10, os.nice(0)))
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
    """The kernel takes a change of one in a tenth of a second, whoever makes it."""

    def is_nice() -> bool:
        make_guest(group)
        return session_nice_of(group) == "19"

    wait_for(is_nice, 30)
    wait_for(lambda: relieve(group), 30)
    assert session_nice_of(group) == "5"


def test_a_guest_that_starves_gets_more(group: int) -> None:
    make_guest(group)
    wait_for(lambda: relieve(group), 30)
    assert nice_of(group) == (5 if may_be_less_nice() else max(10, os.nice(0)))


def test_what_is_refused_is_told_to_those_who_look_closely(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        process.wait()
        with caplog.at_level(logging.DEBUG):
            make_guest(process.pid)
    assert "a staging process goes on without nice 1" in caplog.text
    assert "a staging process goes on without oom_score_adj: " in caplog.text
    assert {record.levelno for record in caplog.records} == {logging.DEBUG}
