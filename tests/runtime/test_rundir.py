"""Run directories: acquired, shared, released, and removed after a killed service."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gomlx.runtime.rundir import Lease, RunDir, RunDirInUse, RunDirUnsafe, claim_slot

Holder = Callable[[str, Path | None], tuple["subprocess.Popen[str]", str]]

ACQUIRE = """
lease = Lease.acquire(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
lease.rundir.store("store").mkdir()
print(lease.rundir.root, flush=True)
"""
CLAIM_SLOT = """
print(claim_slot(RunDir(Path(sys.argv[1]))).number, flush=True)
"""


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary run directories are, of this process and those it starts."""
    directory = tmp_path / "gomlx"
    directory.mkdir(mode=0o700)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return directory


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    lease = Lease.acquire(tmp_path / "run")
    yield lease
    lease.release()


@pytest.fixture
def hold() -> Iterator[Holder]:
    """A function that starts a process which acquires something and keeps it."""
    holders: list[subprocess.Popen[str]] = []
    printed: list[str] = []

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
        printed.append(holder.stdout.readline().strip())
        return holder, printed[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate()
    for root in printed:
        shutil.rmtree(RunDir(Path(root)).shared, ignore_errors=True)


def kill(holder: "subprocess.Popen[str]") -> None:
    holder.kill()
    holder.wait()


def test_acquiring_creates_the_directories(lease: Lease) -> None:
    rundir = lease.rundir
    for path in (rundir.models, rundir.workers, rundir.metrics, rundir.slots):
        assert list(path.iterdir()) == []
    assert (rundir.root / "lock").read_text() == f"{os.getpid()}\n"


def test_only_the_owner_may_read_it(lease: Lease) -> None:
    assert lease.rundir.root.stat().st_mode & 0o077 == 0


def test_a_directory_has_one_holder(lease: Lease) -> None:
    with pytest.raises(RunDirInUse, match=f"in use by process {os.getpid()}"):
        Lease.acquire(lease.rundir.root)
    assert lease.rundir.slots.is_dir()


def test_a_directory_held_by_another_process_is_in_use(
    tmp_path: Path, hold: Holder
) -> None:
    holder, _ = hold(ACQUIRE, tmp_path / "run")
    with pytest.raises(RunDirInUse, match=f"in use by process {holder.pid}"):
        Lease.acquire(tmp_path / "run")
    assert RunDir(tmp_path / "run").shared.is_dir()


def test_the_directory_of_a_killed_service_is_free_and_cleared(
    tmp_path: Path, hold: Holder
) -> None:
    root = tmp_path / "run"
    holder, _ = hold(ACQUIRE, root)
    old = RunDir(root)
    (old.metrics / "tally_0.msgpack").touch()
    (old.workers / "1").touch()
    old.manifest.touch()
    old.config.touch()
    (old.models / "ml0").mkdir()
    kill(holder)
    lease = Lease.acquire(root)
    assert old.store("store").is_dir()
    assert not old.manifest.exists()
    assert not old.config.exists()
    assert list(old.metrics.iterdir()) == list(old.workers.iterdir()) == []
    assert (old.models / "ml0").is_dir()
    lease.release()


def test_releasing_keeps_only_what_the_next_run_can_use(tmp_path: Path) -> None:
    lease = Lease.acquire(tmp_path / "run")
    rundir = lease.rundir
    rundir.store("s").mkdir()
    (rundir.models / "ml0").mkdir()
    rundir.manifest.touch()
    rundir.config.touch()
    lease.release()
    assert {path.name for path in rundir.root.iterdir()} == {"lock", "models"}
    assert list(rundir.shared.iterdir()) == [rundir.store("s")]
    rundir.keep_stores(())
    assert not rundir.shared.exists()  # nothing of a run was left in it


def test_only_named_stores_are_kept(lease: Lease) -> None:
    rundir = lease.rundir
    rundir.keep_stores({"a", "b"})
    rundir.store("a").mkdir()
    rundir.store("old").mkdir()
    (rundir.shared / ".new-half").mkdir()
    (rundir.shared / "link").symlink_to(rundir.root)
    rundir.keep_stores({"a", "b"})
    assert {*rundir.shared.iterdir()} == {rundir.state, rundir.store("a")}
    assert rundir.root.is_dir()
    rundir.keep_stores(())
    assert [*rundir.shared.iterdir()] == [rundir.state]


def test_shared_memory_is_private(lease: Lease) -> None:
    rundir = lease.rundir
    rundir.shared.chmod(0o777)
    rundir.store("a").mkdir()
    rundir.keep_stores({"a"})
    assert rundir.shared.stat().st_mode & 0o777 == 0o700
    assert list(rundir.shared.iterdir()) == []


def test_a_link_in_place_of_shared_memory_is_removed(
    lease: Lease, tmp_path: Path
) -> None:
    rundir = lease.rundir
    (tmp_path / "theirs" / "a").mkdir(parents=True)
    shutil.rmtree(rundir.shared)
    rundir.shared.symlink_to(tmp_path / "theirs")
    rundir.keep_stores({"a"})
    assert not rundir.shared.is_symlink()
    assert list(rundir.shared.iterdir()) == []
    assert (tmp_path / "theirs" / "a").is_dir()


def test_state_that_is_gone_is_made_again(lease: Lease) -> None:
    rundir = lease.rundir
    shutil.rmtree(rundir.shared)
    rundir.make_state()
    for path in (rundir.workers, rundir.metrics, rundir.slots):
        assert list(path.iterdir()) == []
    assert rundir.shared.stat().st_mode & 0o777 == 0o700


def test_a_released_directory_can_be_acquired_again(tmp_path: Path) -> None:
    Lease.acquire(tmp_path / "run").release()
    Lease.acquire(tmp_path / "run").release()


def test_a_temporary_directory_leaves_nothing(temporary: Path) -> None:
    lease = Lease.acquire(None)
    assert lease.rundir.root.parent == temporary
    lease.rundir.store("s").mkdir()
    assert lease.rundir.shared.is_dir()
    lease.release()
    assert list(temporary.iterdir()) == []
    assert not lease.rundir.shared.exists()


def test_every_run_directory_has_its_own_shared_memory(tmp_path: Path) -> None:
    first = RunDir(tmp_path / "a").shared
    second = RunDir(tmp_path / "b").shared
    assert first != second
    assert first.parent == second.parent == Path("/dev/shm")
    assert RunDir(tmp_path / "c" / ".." / "a").shared == first


def test_the_leftovers_of_a_killed_service_are_removed(
    temporary: Path, hold: Holder
) -> None:
    holder, root = hold(ACQUIRE, None)
    old = RunDir(Path(root))
    assert old.root.parent == temporary
    kill(holder)
    assert old.shared.is_dir()
    lease = Lease.acquire(None)
    assert not old.root.exists()
    assert not old.shared.exists()
    lease.release()


def test_the_directories_of_a_running_service_stay(
    temporary: Path, hold: Holder
) -> None:
    _, root = hold(ACQUIRE, None)
    Lease.acquire(None).release()
    assert RunDir(Path(root)).slots.is_dir()
    assert RunDir(Path(root)).shared.is_dir()


def test_other_directories_stay(temporary: Path, tmp_path: Path) -> None:
    (temporary / "gomlx-without-a-lock").mkdir()
    (temporary / "gomlx-file").touch()
    (temporary / "other").mkdir()
    (temporary / "other" / "lock").touch()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "lock").touch()
    (temporary / "gomlx-link").symlink_to(tmp_path / "elsewhere")
    before = sorted(temporary.iterdir())
    Lease.acquire(None).release()
    assert sorted(temporary.iterdir()) == before
    assert (tmp_path / "elsewhere" / "lock").exists()


def test_slots_are_numbered_from_the_lowest_free(lease: Lease) -> None:
    first, second, third = [claim_slot(lease.rundir) for _ in range(3)]
    assert [first.number, second.number, third.number] == [0, 1, 2]
    os.close(second.lock)
    again = claim_slot(lease.rundir)
    assert again.number == 1
    for slot in (first, again, third):
        os.close(slot.lock)


def test_the_slot_of_a_killed_worker_is_free(lease: Lease, hold: Holder) -> None:
    first, slot = hold(CLAIM_SLOT, lease.rundir.root)
    second, next_slot = hold(CLAIM_SLOT, lease.rundir.root)
    assert (slot, next_slot) == ("0", "1")
    kill(first)
    again = claim_slot(lease.rundir)
    assert again.number == 0
    assert second.poll() is None
    os.close(again.lock)


def test_a_worker_without_a_slot_is_its_own(lease: Lease) -> None:
    shutil.rmtree(lease.rundir.slots)
    assert claim_slot(lease.rundir).number == os.getpid()


def earlier(tmp_path: Path) -> RunDir:
    """The directory of an earlier run, with a staged version."""
    lease = Lease.acquire(tmp_path / "run")
    (lease.rundir.models / "m" / ("0" * 32)).mkdir(parents=True)
    lease.release()
    return lease.rundir


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_others_may_read_a_directory(tmp_path: Path, mode: int) -> None:
    rundir = earlier(tmp_path)
    rundir.root.chmod(mode)
    Lease.acquire(rundir.root).release()


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o770, 0o702])
def test_a_directory_that_others_can_write_is_refused(
    tmp_path: Path, mode: int
) -> None:
    rundir = earlier(tmp_path)
    rundir.root.chmod(mode)
    with pytest.raises(RunDirUnsafe, match=f"chmod 700 {rundir.root}"):
        Lease.acquire(rundir.root)


@pytest.mark.parametrize("what", [".", "lock", "models", "models/m", "models/m/*"])
def test_what_belongs_to_another_user_is_refused(tmp_path: Path, what: str) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    root = earlier(tmp_path).root
    (path,) = [root] if what == "." else root.glob(what)
    os.chown(path, 12_345, -1)
    with pytest.raises(RunDirUnsafe, match=f"{path} belongs to user 12345"):
        Lease.acquire(root)


@pytest.mark.parametrize("what", ["lock", "models", "models/m", "models/m/*"])
def test_links_are_refused_and_their_targets_stay(tmp_path: Path, what: str) -> None:
    root = earlier(tmp_path).root
    (path,) = root.glob(what)
    target = tmp_path / "target"
    path.rename(target)
    path.symlink_to(target)
    if target.is_file():
        target.write_text("precious")
    before = sorted(target.rglob("*"))
    with pytest.raises(RunDirUnsafe, match=f"{path} is a link"):
        Lease.acquire(root)
    assert sorted(target.rglob("*")) == before
    assert target.is_dir() or target.read_text() == "precious"


def test_a_second_name_of_a_file_is_refused_as_lock(tmp_path: Path) -> None:
    root = earlier(tmp_path).root
    precious = tmp_path / "precious"
    precious.write_text("precious")
    (root / "lock").unlink()
    (root / "lock").hardlink_to(precious)
    with pytest.raises(RunDirUnsafe, match="lock is a link"):
        Lease.acquire(root)
    assert precious.read_text() == "precious"


def test_a_directory_that_is_itself_a_link_is_followed(tmp_path: Path) -> None:
    rundir = earlier(tmp_path)
    (tmp_path / "link").symlink_to(rundir.root)
    Lease.acquire(tmp_path / "link").release()


def test_shared_memory_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    rundir = earlier(tmp_path)
    rundir.shared.mkdir(mode=0o700)
    (rundir.shared / "theirs").touch()
    os.chown(rundir.shared, 12_345, -1)
    Lease.acquire(rundir.root).release()  # root may remove it, and does
    assert not rundir.shared.exists()
