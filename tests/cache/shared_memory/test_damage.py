"""Damaged stores of an earlier run: no process crashes, and no answer is wrong."""

import os
import random
import shutil
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from gomlx.cache.shared_memory.check import check
from gomlx.cache.shared_memory.lmdb_pages import Damaged, Pages
from gomlx.cache.shared_memory.store import adopt_store, create_store, environment
from tests.cache.entries import SIZE, held, overwrite
from tests.support.service import processes_of, wait_for


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
        truncated,
        truncated_and_grown,
        truncated_and_filled,
        emptied,
        all_random,
        without_first_meta,
        without_second_meta,
        without_metas,
        of_another_format,
        of_another_program,
        a_link,
        a_linked_file,
        a_file,
        without_users,
        open_to_all,
        file_open_to_all,
        of_another_user,
    ],
)
def test_a_store_that_cannot_be_trusted_is_removed(
    leftover: Path, damage: Callable[[Path], None]
) -> None:
    damage(leftover)
    assert not adopt_store(leftover, SIZE)
    assert not leftover.exists()
    create_store(leftover, SIZE)
    assert held(leftover) == set()


def scribbled(data: bytes, seed: int) -> bytearray:
    """Return the data with random bytes over some pages."""
    dice = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(dice.choice((1, 1, 3, 30))):
        start = dice.randrange(8192, len(data) - 4096)
        noise = dice.randbytes(dice.choice((1, 8, 500, 4096)))
        damaged[start : start + len(noise)] = noise
    return damaged


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_do_no_harm(leftover: Path, seed: int) -> None:
    damaged = scribbled((leftover / "data.mdb").read_bytes(), seed)
    overwrite(leftover, 0, bytes(damaged))
    if not adopt_store(leftover, SIZE):
        create_store(leftover, SIZE)
    held(leftover)


def test_random_bytes_are_found_wherever_they_matter(written: Path) -> None:
    data = (written / "data.mdb").read_bytes()
    count = check(memoryview(data))
    verdicts = []
    for seed in range(100, 250):
        try:
            verdicts.append(check(memoryview(scribbled(data, seed))))
        except Damaged:
            verdicts.append(-1)
    # Those that are still sound were damaged in free pages, or in the gap of a page.
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
def test_a_check_that_dies_condemns_the_store(
    leftover: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signum: int
) -> None:
    # It would have ended before it is found: Python begins with this file.
    (tmp_path / "sitecustomize.py").write_text("import signal\nsignal.pause()\n")
    paths = (str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))

    def kill() -> None:
        os.kill(wait_for(lambda: processes_of(leftover))[0], signum)

    killer = threading.Thread(target=kill)
    killer.start()
    assert not adopt_store(leftover, SIZE)
    killer.join()
    assert not leftover.exists()
