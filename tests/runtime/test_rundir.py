"""Run directories: taken, shared, given back, and swept after the dead."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gomlx.runtime.rundir import Lease, RunDir, RunDirInUse, take_slot

Holder = Callable[[str, Path | None], tuple["subprocess.Popen[str]", str]]

TAKE = """
lease = Lease.take(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
(lease.rundir.shared / "store").mkdir(parents=True)
print(lease.rundir.root, flush=True)
"""
TAKE_SLOT = """
print(take_slot(RunDir(Path(sys.argv[1])))[0], flush=True)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The temporary directory, for this process and those it starts."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    return directory


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    lease = Lease.take(tmp_path / "run")
    yield lease
    lease.release()


@pytest.fixture
def hold() -> Iterator[Holder]:
    """A function that starts a process which takes something and keeps it."""
    holders: list[subprocess.Popen[str]] = []
    said: list[str] = []

    def start(
        script: str, root: Path | None = None
    ) -> tuple["subprocess.Popen[str]", str]:
        imports = (
            "import sys\nfrom pathlib import Path\nfrom gomlx.runtime.rundir import *\n"
        )
        code = imports + script + "sys.stdin.read()"
        holder = subprocess.Popen(
            [sys.executable, "-c", code, *([str(root)] if root else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        holders.append(holder)
        assert holder.stdout
        said.append(holder.stdout.readline().strip())
        return holder, said[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()
    for root in said:
        shutil.rmtree(RunDir(Path(root)).shared, ignore_errors=True)


def kill(holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()


def test_taking_makes_the_directories(lease: Lease) -> None:
    rundir = lease.rundir
    for path in (rundir.models, rundir.workers, rundir.metrics, rundir.slots):
        assert list(path.iterdir()) == []
    assert (rundir.root / "lock").read_text() == f"{os.getpid()}\n"


def test_only_the_owner_may_look_inside(lease: Lease) -> None:
    assert lease.rundir.root.stat().st_mode & 0o077 == 0


def test_a_directory_is_held_by_one(lease: Lease) -> None:
    with pytest.raises(RunDirInUse, match=f"in use by process {os.getpid()}"):
        Lease.take(lease.rundir.root)
    assert lease.rundir.slots.is_dir()


def test_a_directory_held_by_another_process_is_in_use(
    tmp_path: Path, hold: Holder
) -> None:
    holder, _ = hold(TAKE, tmp_path / "run")
    with pytest.raises(RunDirInUse, match=f"in use by process {holder.pid}"):
        Lease.take(tmp_path / "run")
    assert RunDir(tmp_path / "run").shared.is_dir()


def test_the_directory_of_the_dead_is_free_and_emptied(
    tmp_path: Path, hold: Holder
) -> None:
    root = tmp_path / "run"
    holder, _ = hold(TAKE, root)
    left = RunDir(root)
    (left.metrics / "counter_0.db").touch()
    (left.workers / "1").touch()
    left.manifest.touch()
    left.config.touch()
    (left.models / "ml0").mkdir()
    kill(holder)
    lease = Lease.take(root)
    assert left.store("store").is_dir()
    assert not left.manifest.exists()
    assert not left.config.exists()
    assert list(left.metrics.iterdir()) == list(left.workers.iterdir()) == []
    assert (left.models / "ml0").is_dir()
    lease.release()


def test_releasing_leaves_only_what_the_next_run_can_use(tmp_path: Path) -> None:
    lease = Lease.take(tmp_path / "run")
    rundir = lease.rundir
    (rundir.store("s")).mkdir(parents=True)
    (rundir.models / "ml0").mkdir()
    rundir.manifest.touch()
    rundir.config.touch()
    lease.release()
    assert {path.name for path in rundir.root.iterdir()} == {"lock", "models"}
    assert rundir.store("s").is_dir()
    rundir.keep_stores(())
    assert not rundir.shared.exists()


def test_only_stores_that_are_named_are_kept(lease: Lease) -> None:
    rundir = lease.rundir
    rundir.keep_stores({"a", "b"})
    rundir.store("a").mkdir()
    rundir.store("old").mkdir()
    (rundir.shared / ".new-half").mkdir()
    (rundir.shared / "link").symlink_to(rundir.root)
    rundir.keep_stores({"a", "b"})
    assert {path.name for path in rundir.shared.iterdir()} == {"a"}
    assert rundir.root.is_dir()
    rundir.keep_stores(())
    assert not rundir.shared.exists()


def test_shared_memory_is_ours_alone(lease: Lease) -> None:
    rundir = lease.rundir
    rundir.shared.mkdir()
    rundir.shared.chmod(0o777)
    rundir.store("a").mkdir()
    rundir.keep_stores({"a"})
    assert rundir.shared.stat().st_mode & 0o777 == 0o700
    assert list(rundir.shared.iterdir()) == []
    rundir.keep_stores(())


def test_a_link_in_the_place_of_shared_memory_goes(
    lease: Lease, tmp_path: Path
) -> None:
    rundir = lease.rundir
    (tmp_path / "theirs" / "a").mkdir(parents=True)
    rundir.shared.symlink_to(tmp_path / "theirs")
    rundir.keep_stores({"a"})
    assert not rundir.shared.is_symlink()
    assert list(rundir.shared.iterdir()) == []
    assert (tmp_path / "theirs" / "a").is_dir()
    rundir.keep_stores(())


def test_a_released_directory_can_be_taken_again(tmp_path: Path) -> None:
    Lease.take(tmp_path / "run").release()
    Lease.take(tmp_path / "run").release()


def test_a_temporary_directory_leaves_nothing(temporary: Path) -> None:
    lease = Lease.take(None)
    assert lease.rundir.root.parent == temporary
    lease.rundir.store("s").mkdir(parents=True)
    assert lease.rundir.shared.is_dir()
    lease.release()
    assert list(temporary.iterdir()) == []
    assert not lease.rundir.shared.exists()


def test_shared_memory_stands_apart_for_every_directory(tmp_path: Path) -> None:
    first, second = RunDir(tmp_path / "a").shared, RunDir(tmp_path / "b").shared
    assert first != second
    assert first.parent == second.parent == Path("/dev/shm")
    assert RunDir(tmp_path / "c" / ".." / "a").shared == first


def test_what_a_killed_service_left_is_swept(temporary: Path, hold: Holder) -> None:
    holder, root = hold(TAKE, None)
    left = RunDir(Path(root))
    assert left.root.parent == temporary
    kill(holder)
    assert left.shared.is_dir()
    lease = Lease.take(None)
    assert not left.root.exists()
    assert not left.shared.exists()
    lease.release()


def test_a_running_service_is_not_swept(temporary: Path, hold: Holder) -> None:
    _, root = hold(TAKE, None)
    Lease.take(None).release()
    assert RunDir(Path(root)).slots.is_dir()
    assert RunDir(Path(root)).shared.is_dir()


def test_what_is_not_ours_is_not_swept(temporary: Path, tmp_path: Path) -> None:
    (temporary / "gomlx-without-a-lock").mkdir()
    (temporary / "gomlx-file").touch()
    (temporary / "other").mkdir()
    (temporary / "other" / "lock").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").touch()
    (temporary / "gomlx-link").symlink_to(tmp_path / "elsewhere")
    before = sorted(temporary.iterdir())
    Lease.take(None).release()
    assert sorted(temporary.iterdir()) == before
    assert (tmp_path / "elsewhere" / "lock").exists()


def test_slots_are_numbered_from_the_lowest_free(lease: Lease) -> None:
    taken = [take_slot(lease.rundir) for _ in range(3)]
    assert [slot for slot, _ in taken] == [0, 1, 2]
    os.close(taken[1][1])
    again, lock = take_slot(lease.rundir)
    assert again == 1
    for held in (taken[0][1], lock, taken[2][1]):
        os.close(held)


def test_the_slot_of_the_dead_is_free(lease: Lease, hold: Holder) -> None:
    first, slot = hold(TAKE_SLOT, lease.rundir.root)
    second, next_slot = hold(TAKE_SLOT, lease.rundir.root)
    assert (slot, next_slot) == ("0", "1")
    kill(first)
    number, lock = take_slot(lease.rundir)
    assert number == 0
    assert second.poll() is None
    os.close(lock)
