"""Stores that are made, kept, or found damaged and made again."""

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from gomlx.cache import store as stores
from gomlx.cache.check import Damaged, Pages, check
from gomlx.cache.shm import SharedMemory
from gomlx.cache.store import adopt_store, create_store, environment
from gomlx.errors import StoreUnavailable
from tests.cache.entries import SIZE, TTL, answer, entries, key, known
from tests.service import processes_of, wait_for


def test_making_a_store_empties_it(directory: Path, store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    store.close()
    create_store(directory, SIZE)
    fresh = SharedMemory(directory)
    assert known(fresh, range(3)) == set()
    fresh.close()


def blocks(directory: Path) -> int:
    """Bytes that the files of a store take."""
    return sum(path.stat().st_blocks * 512 for path in directory.iterdir())


def test_the_space_is_reserved_private_and_never_exceeded(directory: Path) -> None:
    assert directory.stat().st_mode & 0o077 == 0
    assert (directory / "data.mdb").stat().st_blocks * 512 == SIZE
    store = SharedMemory(directory)
    for start in range(0, 20_000, 500):
        store.set_many(entries(range(start, start + 500)))
    lock_bytes = (directory / "lock.mdb").stat().st_size
    assert lock_bytes < 100_000
    assert SIZE <= blocks(directory) <= SIZE + lock_bytes + 4096
    store.close()


def test_too_little_memory_is_said_and_leaves_nothing(shared_folder: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        create_store(shared_folder / "store", 10 << 40)
    message = str(caught.value)
    assert "cannot reserve 10485760 MB" in message
    assert "memory_mb" in message
    assert "--shm-size" in message
    assert list(shared_folder.iterdir()) == []


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, on disk, that has been full, with answers of one page and of many."""
    directory = tmp_path_factory.mktemp("written") / "store"
    create_store(directory, SIZE)
    store = SharedMemory(directory)
    for start in range(0, 8000, 100):
        large = {key(100_000 + start // 100 % 50): (b"x" * 9000, TTL)}
        store.set_many(entries(range(start, start + 100)) | large)
    store.close()
    return directory


@pytest.fixture
def left(written: Path, shared_folder: Path) -> Path:
    """What an earlier run has left."""
    directory = shared_folder / "store"
    shutil.copytree(written, directory)
    with (directory / "data.mdb").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, SIZE)
    return directory


NEWEST = range(6000, 8000)


def held(directory: Path) -> set[int]:
    """Which of the newest a store holds; it must go on working."""
    store = SharedMemory(directory)
    before = known(store, NEWEST)
    known(store, range(6000))
    for start in range(10_000, 16_000, 100):
        store.set_many(entries(range(start, start + 100)))
        assert len(known(store, range(start, start + 100))) == 100
    store.close()
    return before


def test_a_sound_store_is_kept(left: Path) -> None:
    assert adopt_store(left, SIZE)
    assert len(held(left)) > 1900
    assert adopt_store(left, SIZE)


def test_the_store_of_no_earlier_run_is_not_there(shared_folder: Path) -> None:
    assert not adopt_store(shared_folder / "store", SIZE)
    assert list(shared_folder.iterdir()) == []


def test_garbage_in_the_lock_file_does_no_harm(left: Path) -> None:
    (left / "lock.mdb").write_bytes(random.Random(1).randbytes(70_000))
    assert adopt_store(left, SIZE)
    assert len(held(left)) > 1900


def truncated(directory: Path) -> None:
    os.truncate(directory / "data.mdb", SIZE // 2)


def truncated_and_grown(directory: Path) -> None:
    truncated(directory)
    os.truncate(directory / "data.mdb", SIZE)


def truncated_and_filled(directory: Path) -> None:
    truncated(directory)
    with (directory / "data.mdb").open("ab") as file:
        file.write(bytes(SIZE // 2))


def emptied(directory: Path) -> None:
    os.truncate(directory / "data.mdb", 0)


def without_first_meta(directory: Path) -> None:
    overwrite(directory, 0, bytes(4096))


def without_second_meta(directory: Path) -> None:
    overwrite(directory, 4096, bytes(4096))


def without_metas(directory: Path) -> None:
    overwrite(directory, 0, bytes(8192))


def all_random(directory: Path) -> None:
    overwrite(directory, 0, random.Random(1).randbytes(SIZE))


def overwrite(directory: Path, offset: int, data: bytes) -> None:
    with (directory / "data.mdb").open("r+b") as file:
        file.seek(offset)
        file.write(data)


def of_another_format(directory: Path) -> None:
    with environment(directory, SIZE) as opened:
        table = opened.open_db(b"meta")
        with opened.begin(write=True, db=table) as transaction:
            transaction.put(b"format", b"1")


def of_another_program(directory: Path) -> None:
    (directory / "data.mdb").unlink()
    with lmdb.open(str(directory), map_size=SIZE, mode=0o600, max_dbs=1) as opened:
        opened.open_db(b"theirs")
    os.truncate(directory / "data.mdb", SIZE)
    with (directory / "data.mdb").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, SIZE)


def a_link(directory: Path) -> None:
    directory.rename(directory.parent / "elsewhere")
    directory.symlink_to(directory.parent / "elsewhere")


def a_linked_file(directory: Path) -> None:
    (directory / "data.mdb").rename(directory.parent / "elsewhere")
    (directory / "data.mdb").symlink_to(directory.parent / "elsewhere")


def a_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch(0o600)


def without_users(directory: Path) -> None:
    (directory / "users").unlink()


def open_to_all(directory: Path) -> None:
    directory.chmod(0o755)


def file_open_to_all(directory: Path) -> None:
    (directory / "data.mdb").chmod(0o644)


def of_another_user(directory: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(directory / "data.mdb", 12_345, -1)


@pytest.mark.parametrize(
    "damage",
    [
        *(truncated, truncated_and_grown, truncated_and_filled, emptied, all_random),
        *(without_first_meta, without_second_meta, without_metas),
        *(of_another_format, of_another_program, a_link, a_linked_file, a_file),
        *(without_users, open_to_all, file_open_to_all, of_another_user),
    ],
)
def test_what_cannot_be_trusted_goes(
    left: Path, damage: Callable[[Path], None]
) -> None:
    damage(left)
    assert not adopt_store(left, SIZE)
    assert not left.exists()
    create_store(left, SIZE)
    assert held(left) == set()


@pytest.mark.parametrize("size", [SIZE // 2, SIZE * 2])
def test_a_store_of_another_size_goes(left: Path, size: int) -> None:
    assert not adopt_store(left, size)
    assert not left.exists()


def scribbled(data: bytes, seed: int) -> bytearray:
    """The same with random bytes over some pages."""
    dice = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(dice.choice((1, 1, 3, 30))):
        start = dice.randrange(8192, len(data) - 4096)
        noise = dice.randbytes(dice.choice((1, 8, 500, 4096)))
        damaged[start : start + len(noise)] = noise
    return damaged


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_do_no_harm(left: Path, seed: int) -> None:
    damaged = scribbled((left / "data.mdb").read_bytes(), seed)
    overwrite(left, 0, bytes(damaged))
    if not adopt_store(left, SIZE):
        create_store(left, SIZE)
    held(left)


def test_random_bytes_are_found_wherever_they_matter(written: Path) -> None:
    data = (written / "data.mdb").read_bytes()
    count = check(memoryview(data))
    verdicts = []
    for seed in range(100, 250):
        try:
            verdicts.append(check(memoryview(scribbled(data, seed))))
        except Damaged:
            verdicts.append(-1)
    # What remains sound was damaged in free pages, or in the gap within a page.
    assert set(verdicts) == {-1, count}
    assert verdicts.count(-1) > 75


def test_a_free_list_that_names_a_page_in_use_is_found(written: Path) -> None:
    data = bytearray((written / "data.mdb").read_bytes())
    pages = Pages(memoryview(data))
    *_, (_, _, record, _) = pages.nodes(pages.free)
    record[8:16] = pages.main.root.to_bytes(8, "little")
    with pytest.raises(Damaged, match="used twice"):
        check(memoryview(data))


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS])
def test_a_check_that_dies_condemns_the_store(left: Path, signum: int) -> None:
    def kill() -> None:
        os.kill(wait_for(lambda: processes_of(left))[0], signum)

    killer = threading.Thread(target=kill)
    killer.start()
    assert not adopt_store(left, SIZE)
    killer.join()
    assert not left.exists()


USE = """
from gomlx.cache.shm import SharedMemory
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


def test_the_last_users_of_an_earlier_run_are_waited_for(left: Path) -> None:
    with using(left) as user:
        killer = threading.Timer(0.3, user.kill)
        killer.start()
        assert adopt_store(left, SIZE)
        assert user.wait(10) == -signal.SIGKILL
    assert len(held(left)) > 1900


def test_a_store_that_stays_in_use_is_left_to_its_users(
    left: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_PATIENCE_SECONDS", 0.1)
    old = SharedMemory(left)
    assert not adopt_store(left, SIZE)
    create_store(left, SIZE)
    with using(left) as user:
        assert len(known(old, NEWEST)) > 1900
        old.set_many({key(1): (answer(1), TTL)})
        assert known(old, range(1, 2)) == {1}
        assert user.stdin
        user.stdin.close()
    old.close()
    assert adopt_store(left, SIZE)
    assert held(left) == set()
