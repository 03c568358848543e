"""Damaged stores of an earlier run: no process crashes, and no answer is wrong."""

import mmap
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gomlx.cache.shared_memory.geometry import Geometry, Shares
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.store import adopt_store, create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from tests.cache.entries import SIZE, TTL, WRITTEN, answer, held, hits, key, overwrite


def truncated(directory: Path) -> None:
    os.truncate(directory / "ring", SIZE // 2)


def truncated_and_grown(directory: Path) -> None:
    truncated(directory)
    os.truncate(directory / "ring", SIZE)


def emptied(directory: Path) -> None:
    os.truncate(directory / "ring", 0)


def without_header(directory: Path) -> None:
    overwrite(directory, 0, bytes(4096))


def all_random(directory: Path) -> None:
    overwrite(directory, 0, random.Random(1).randbytes(SIZE))


def of_another_format(directory: Path) -> None:
    overwrite(directory, 16, b"\2")


def of_other_shares(directory: Path) -> None:
    overwrite(directory, 0, Geometry.of(SIZE, Shares(index=0.1)).header())


@pytest.mark.parametrize("head", [0, SIZE // 4, (1 << 40) + 1, 1 << 63, (1 << 64) - 8])
@pytest.mark.parametrize("at", [64, 128])
def test_a_head_that_no_writer_leaves_is_found(
    leftover: Path, head: int, at: int
) -> None:
    overwrite(leftover, at, head.to_bytes(8, "little"))
    if adopt_store(leftover, SIZE):  # the log of new entries is smaller than that
        assert (head, at) == (SIZE // 4, 128)
        held(leftover)


def of_an_lmdb(directory: Path) -> None:
    (directory / "ring").rename(directory / "data.mdb")


def a_link(directory: Path) -> None:
    directory.rename(directory.parent / "elsewhere")
    directory.symlink_to(directory.parent / "elsewhere")


def a_linked_file(directory: Path) -> None:
    (directory / "ring").rename(directory.parent / "elsewhere")
    (directory / "ring").symlink_to(directory.parent / "elsewhere")


def a_file(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.touch(0o600)


def without_users(directory: Path) -> None:
    (directory / "users").unlink()


def open_to_all(directory: Path) -> None:
    directory.chmod(0o755)


def file_open_to_all(directory: Path) -> None:
    (directory / "ring").chmod(0o644)


def of_another_user(directory: Path) -> None:
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(directory / "ring", 12_345, -1)


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        truncated_and_grown,
        emptied,
        all_random,
        without_header,
        of_another_format,
        of_other_shares,
        of_an_lmdb,
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
    """Return the data with random bytes over some parts."""
    dice = random.Random(seed)
    damaged = bytearray(data)
    for _ in range(dice.choice((1, 1, 3, 30))):
        start = dice.randrange(len(data) - 4096)
        noise = dice.randbytes(dice.choice((1, 8, 500, 4096)))
        damaged[start : start + len(noise)] = noise
    return damaged


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes_do_no_harm(leftover: Path, seed: int) -> None:
    damaged = scribbled((leftover / "ring").read_bytes(), seed)
    overwrite(leftover, 0, bytes(damaged))
    if not adopt_store(leftover, SIZE):
        create_store(leftover, SIZE)
    held(leftover)


def test_damage_costs_only_the_answers_that_it_hits(leftover: Path) -> None:
    before = found_in(leftover)
    overwrite(leftover, SIZE * 3 // 4, bytes(4096))
    assert adopt_store(leftover, SIZE)
    lost = before - found_in(leftover)
    assert 10 < len(lost) < 40


def found_in(directory: Path) -> set[int]:
    store = SharedMemory(directory)
    found = hits(store, WRITTEN)
    store.close()
    return found


SMALL = 64 << 10
NUMBERS = range(41)


def long_answer(number: int) -> bytes:
    return answer(number) * (1 + number % 20)


class Small(NamedTuple):
    """A small store that is nearly full, without L0, and its file, mapped once more."""

    store: SharedMemory
    memory: mmap.mmap


@pytest.fixture
def small(shared_folder: Path) -> Iterator[Small]:
    directory = shared_folder / "small"
    create_store(directory, SMALL)
    store = SharedMemory(directory, l0=InProcessCache(max_entries=0))
    store.set_many({key(n): (long_answer(n), TTL) for n in NUMBERS})
    with (directory / "ring").open("r+b") as file, mmap.mmap(file.fileno(), 0) as map_:
        yield Small(store, map_)
    store.close()


def test_any_byte_that_changes_is_a_miss_or_harmless(small: Small) -> None:
    keys = [key(n) for n in NUMBERS]
    right = {key(n): long_answer(n) for n in NUMBERS}
    assert small.store.get_many(keys) == right
    lost = 0
    for at in range(SMALL):
        small.memory[at] ^= 0xFF
        found = small.store.get_many(keys)
        lost += len(right) - len(found)
        assert found.items() <= right.items(), at
        small.memory[at] ^= 0xFF
    assert lost > SMALL // 3
    assert small.store.get_many(keys) == right


def test_writers_go_on_after_any_byte_of_the_header_changes(small: Small) -> None:
    for at in range(4096):
        small.memory[at] ^= 0xFF
        value = long_answer(at)
        small.store.set_many({key(100 + at): (value, TTL)})
        assert small.store.get_many([key(100 + at)]) == {key(100 + at): value}, at
        usage = small.store.usage()
        assert usage
        assert usage.bytes <= SMALL
