"""What a run of tests that was killed has left is found, and removed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gomlx.runtime.rundir import RunDir
from tests.support import leftovers
from tests.support.service import wait_for
from tests.system.test_fleet import no_namespaces, run


@pytest.fixture
def killed() -> tuple[int, str]:
    """The id and the mark of a process that has ended."""
    with subprocess.Popen(["sleep", "600"]) as process:
        mark = leftovers.mark_of(process.pid)
        process.kill()
    return process.pid, mark


@pytest.fixture
def orphan(killed: tuple[int, str]) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that the killed one started."""
    environment = os.environ | {leftovers.VARIABLE: killed[1]}
    process = subprocess.Popen(
        [sys.executable, "-c", "input()"], env=environment, stdin=subprocess.PIPE
    )
    yield process
    process.kill()
    process.communicate()


def test_who_runs_is_not_dead(killed: tuple[int, str]) -> None:
    assert not leftovers.is_dead(leftovers.mark_of(os.getpid()))
    assert leftovers.is_dead(f"{os.getpid()}.1")  # it has this one's id, and is older
    assert leftovers.is_dead(killed[1])


def test_processes_of_killed_runs_are_killed(
    orphan: "subprocess.Popen[bytes]", killed: tuple[int, str], tmp_path: Path
) -> None:
    assert wait_for(lambda: orphan.pid in leftovers.marked(killed[1].__eq__), 30)
    ours = os.environ[leftovers.VARIABLE]
    assert orphan.pid not in leftovers.marked(ours.__eq__)
    leftovers.remove_those_of_killed_runs(tmp_path)
    assert orphan.wait(30) < 0


@pytest.mark.parametrize("folder", ["pytest-of-me/pytest-3", "pytest-of-me/p/popen-1"])
def test_stores_of_killed_runs_are_removed(
    killed: tuple[int, str], tmp_path: Path, folder: str
) -> None:
    path = tmp_path / folder
    (path / "test0" / "run").mkdir(parents=True)
    (path / "test0" / "run" / "lock").touch()
    (path / leftovers.VARIABLE).write_text(leftovers.mark_of(os.getpid()))
    shared = RunDir(path / "test0" / "run").shared
    shared.mkdir()
    leftovers.remove_those_of_killed_runs(tmp_path)
    assert shared.exists()
    (path / leftovers.VARIABLE).write_text(killed[1])
    leftovers.remove_those_of_killed_runs(tmp_path)
    assert not shared.exists()


def test_namespaces_of_killed_runs_are_removed(
    killed: tuple[int, str], tmp_path: Path
) -> None:
    if problem := no_namespaces():
        pytest.skip(f"no network namespaces: {problem}")
    name = f"gomlx-{killed[0]}-left"
    run("ip", "netns", "add", name)
    assert leftovers.namespaces(killed[0].__eq__) == [name]
    leftovers.remove_those_of_killed_runs(tmp_path)
    assert leftovers.namespaces(killed[0].__eq__) == []
