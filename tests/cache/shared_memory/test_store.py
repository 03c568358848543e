"""Stores that are created, and kept from one run to the next."""

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from gomlx.cache.shared_memory.store import adopt_store, create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.errors import StoreUnavailable
from tests.cache.entries import (
    SIZE,
    TTL,
    WRITTEN,
    answer,
    entries,
    held,
    hits,
    key,
)

HELD = 2500  # at least, of those written


def test_creating_a_store_empties_it(directory: Path, store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    store.close()
    create_store(directory, SIZE)
    fresh = SharedMemory(directory)
    assert hits(fresh, range(3)) == set()
    fresh.close()


def blocks(directory: Path) -> int:
    """Bytes that the files of a store take."""
    return sum(path.stat().st_blocks * 512 for path in directory.iterdir())


def test_the_space_is_reserved_private_and_never_exceeded(directory: Path) -> None:
    assert directory.stat().st_mode & 0o077 == 0
    assert (directory / "ring").stat().st_mode & 0o077 == 0
    assert (directory / "ring").stat().st_blocks * 512 == SIZE
    store = SharedMemory(directory)
    for start in range(0, 20_000, 500):
        store.set_many(entries(range(start, start + 500)))
    assert blocks(directory) == SIZE
    store.close()


def test_too_little_memory_is_reported_and_leaves_nothing(shared_folder: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        create_store(shared_folder / "store", 10 << 40)
    message = str(caught.value)
    assert "cannot reserve 10485760 MB" in message
    assert "memory_mb" in message
    assert "--shm-size" in message
    assert list(shared_folder.iterdir()) == []


SQUEEZE = """
import shutil
from pathlib import Path
from gomlx.cache.shared_memory.store import create_store
from gomlx.errors import StoreUnavailable

folder = Path(sys.argv[1])
try:
    create_store(folder / "store", 4 << 20)
except StoreUnavailable as error:
    print(error)
create_store(folder / "store", 3 << 20)
assert shutil.disk_usage(folder).free >= 1 << 20
"""


def on_a_small_disk(tmp_path: Path, code: str) -> str:
    """Run code with a file system of 4 MB; return what it prints."""
    mount = f'mount -t tmpfs -o size=4m none {tmp_path} && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", mount, "sh"]
    if subprocess.run([*command, "true"], capture_output=True, check=False).returncode:
        pytest.skip("may not mount file systems")
    done = subprocess.run(
        [*command, sys.executable, "-c", f"import sys\n{code}", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_store_leaves_room_for_the_state_of_the_service(tmp_path: Path) -> None:
    printed = on_a_small_disk(tmp_path, SQUEEZE)
    assert "cannot reserve 4 MB" in printed
    assert "1 MB has to be left" in printed


FILL = """
import errno
from pathlib import Path
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.errors import StoreUnavailable
from tests.cache.entries import entries, hits

folder = Path(sys.argv[1])
create_store(folder / "store", 2 << 20)
store = SharedMemory(folder / "store")
with (folder / "others").open("wb", buffering=0) as file:
    try:
        while file.write(bytes(4096)):
            pass
    except OSError as error:
        assert error.errno == errno.ENOSPC
for start in range(0, 60_000, 500):
    store.set_many(entries(range(start, start + 500)))
assert len(hits(store, range(59_500, 60_000))) > 480
try:
    create_store(folder / "second", 1 << 20)
except StoreUnavailable:
    print("refused")
"""


def test_a_store_is_written_while_the_memory_is_full(tmp_path: Path) -> None:
    """All of its space was reserved: writing past it would be a SIGBUS."""
    assert on_a_small_disk(tmp_path, FILL) == "refused\n"


def test_a_sound_store_is_kept(leftover: Path) -> None:
    assert adopt_store(leftover, SIZE)
    assert len(held(leftover)) > HELD
    assert adopt_store(leftover, SIZE)


@pytest.mark.parametrize("megabytes", [1, 16, 64])
def test_a_store_may_have_any_size(shared_folder: Path, megabytes: int) -> None:
    directory = shared_folder / "store"
    create_store(directory, megabytes << 20)
    store = SharedMemory(directory)
    for start in range(0, 4000, 500):
        store.set_many(entries(range(start, start + 500)))
    store.close()
    assert adopt_store(directory, megabytes << 20)
    store = SharedMemory(directory)
    assert len(hits(store, range(4000))) > 3950
    store.close()


def test_without_an_earlier_run_there_is_nothing_to_keep(shared_folder: Path) -> None:
    assert not adopt_store(shared_folder / "store", SIZE)
    assert list(shared_folder.iterdir()) == []


@pytest.mark.parametrize("size", [SIZE // 2, SIZE * 2])
def test_a_store_of_another_size_is_removed(leftover: Path, size: int) -> None:
    assert not adopt_store(leftover, size)
    assert not leftover.exists()


USE = """
from gomlx.cache.shared_memory.tier import SharedMemory
store = SharedMemory(Path(sys.argv[1]))
print(flush=True)
sys.stdin.read()
"""


def using(directory: Path) -> "subprocess.Popen[bytes]":
    code = "import sys\nfrom pathlib import Path\n" + USE
    user = subprocess.Popen(
        [sys.executable, "-c", code, str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert user.stdout
    user.stdout.readline()
    return user


def test_the_last_users_of_an_earlier_run_are_waited_for(leftover: Path) -> None:
    with using(leftover) as user:
        killer = threading.Timer(0.3, user.kill)
        killer.start()
        assert adopt_store(leftover, SIZE)
        assert user.wait(10) == -signal.SIGKILL
    assert len(held(leftover)) > HELD


def test_a_store_that_stays_in_use_is_left_to_its_users(leftover: Path) -> None:
    old = SharedMemory(leftover)
    assert not adopt_store(leftover, SIZE, patience_seconds=0.1)
    create_store(leftover, SIZE)
    with using(leftover) as user:
        assert len(hits(old, WRITTEN)) > HELD
        old.set_many({key(1): (answer(1), TTL)})
        assert hits(old, range(1, 2)) == {1}
        assert user.stdin
        user.stdin.close()
    old.close()
    assert adopt_store(leftover, SIZE)
    assert held(leftover) == set()
