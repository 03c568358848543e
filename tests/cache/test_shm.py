"""L1 in real shared memory, with other processes that write, read and die."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lmdb
import pytest

from gomlx.cache.shm import SharedMemory, create_store
from gomlx.errors import StoreUnavailable

SIZE = 1 << 20
TTL = 100
spawning = multiprocessing.get_context("spawn")


class Clock:
    """Time that passes when told."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def answer(number: int) -> bytes:
    """100 bytes that belong to this number only."""
    return b"%020d" % number * 5


def entries(numbers: range) -> dict[bytes, bytes]:
    return {key(n): answer(n) for n in numbers}


def known(store: SharedMemory, numbers: range) -> set[int]:
    """Which are found; what is found must be right."""
    found = store.get_many([key(n) for n in numbers])
    assert found.items() <= entries(numbers).items()
    return {n for n in numbers if key(n) in found}


@pytest.fixture
def directory(shared_folder: Path) -> Path:
    directory = shared_folder / "store"
    create_store(directory, SIZE)
    return directory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(directory: Path, clock: Clock) -> Iterator[SharedMemory]:
    store = SharedMemory(directory, TTL, clock)
    yield store
    store.close()


def test_a_new_store_is_empty(store: SharedMemory) -> None:
    assert store.get_many([key(1), key(2)]) == {}
    assert store.get_many([]) == {}


def test_what_was_set_is_found_and_nothing_else(store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    assert known(store, range(5)) == {0, 1, 2}


@pytest.mark.parametrize("value", [b"", b"\0", b"x" * 100_000])
def test_any_value_comes_back_as_it_was(store: SharedMemory, value: bytes) -> None:
    store.set_many({key(1): value})
    assert store.get_many([key(1)]) == {key(1): value}


def test_a_later_value_replaces_an_earlier_one(store: SharedMemory) -> None:
    store.set_many({key(1): b"old"})
    store.set_many({key(1): b"new"})
    assert store.get_many([key(1)]) == {key(1): b"new"}


def test_an_answer_expires(store: SharedMemory, clock: Clock) -> None:
    store.set_many(entries(range(1)))
    clock.now += TTL - 1
    assert known(store, range(1)) == {0}
    clock.now += 1
    assert known(store, range(1)) == set()


def test_an_answer_that_is_set_again_lives_on(
    store: SharedMemory, clock: Clock
) -> None:
    store.set_many(entries(range(2)))
    clock.now += TTL / 2
    store.set_many(entries(range(1)))
    clock.now += TTL / 2
    assert known(store, range(2)) == {0}


def test_a_store_outlives_those_who_opened_it(directory: Path) -> None:
    first = SharedMemory(directory, TTL)
    first.set_many(entries(range(3)))
    first.close()
    second = SharedMemory(directory, TTL)
    assert known(second, range(3)) == {0, 1, 2}
    second.close()


def test_making_a_store_empties_it(directory: Path, store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    store.close()
    create_store(directory, SIZE)
    fresh = SharedMemory(directory, TTL)
    assert known(fresh, range(3)) == set()
    fresh.close()


def test_the_space_is_reserved_and_private(directory: Path) -> None:
    taken = (directory / "data.mdb").stat()
    assert taken.st_size == SIZE
    assert taken.st_blocks * 512 >= SIZE
    assert directory.stat().st_mode & 0o077 == 0


def test_too_little_memory_is_said_and_leaves_nothing(shared_folder: Path) -> None:
    with pytest.raises(StoreUnavailable) as caught:
        create_store(shared_folder / "store", 10 << 40)
    message = str(caught.value)
    assert "cannot reserve 10485760 MB" in message
    assert "memory_mb" in message
    assert "--shm-size" in message
    assert list(shared_folder.iterdir()) == []


def test_writing_far_more_than_fits_keeps_the_newest(
    store: SharedMemory, directory: Path
) -> None:
    before = _blocks(directory)
    for start in range(0, 50_000, 100):
        store.set_many(entries(range(start, start + 100)))
        assert len(known(store, range(start, start + 100))) == 100
    assert len(known(store, range(48_500, 50_000))) == 1500
    assert known(store, range(10_000)) == set()
    assert _blocks(directory) == before


def _blocks(directory: Path) -> tuple[int, int]:
    data = (directory / "data.mdb").stat()
    return data.st_size, data.st_blocks


def test_large_answers_are_evicted_as_well(store: SharedMemory) -> None:
    for number in range(200):
        store.set_many({key(number): answer(number) * 500})
    assert store.get_many([key(199)]) == {key(199): answer(199) * 500}
    assert store.get_many([key(n) for n in range(150)]) == {}


def test_what_is_asked_for_lives_while_the_rest_goes(store: SharedMemory) -> None:
    store.set_many(entries(range(2)))
    for start in range(1000, 40_000, 100):
        assert known(store, range(1)) == {0}
        store.set_many(entries(range(start, start + 100)))
    assert known(store, range(2)) == {0}


def test_what_is_asked_for_still_expires(store: SharedMemory, clock: Clock) -> None:
    store.set_many(entries(range(1)))
    for start in range(1000, 20_000, 100):
        assert known(store, range(1)) == {0}
        store.set_many(entries(range(start, start + 100)))
    clock.now += TTL
    assert known(store, range(1)) == set()


def test_an_answer_larger_than_the_store_is_refused(store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    for number in range(100, 103):
        with pytest.raises(lmdb.Error):
            store.set_many({key(number): b"x" * 2 * SIZE})
        assert known(store, range(3)) == {0, 1, 2}
    store.set_many(entries(range(3, 6)))
    assert known(store, range(6)) == set(range(6))


def _write_one(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory, TTL)
    store.set_many(entries(range(3)))
    parent.send(known(store, range(100, 200)))
    store.close()


def _write_forever(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory, TTL)
    start = 0
    while True:
        store.set_many(entries(range(start, start + 50)))
        start = (start + 50) % 20_000
        parent.send(start)


def _die_while_writing(directory: Path, parent: Connection) -> None:
    with (
        lmdb.open(str(directory), map_size=SIZE, max_dbs=3, writemap=True) as opened,
        opened.begin(write=True, db=opened.open_db(b"a")) as transaction,
    ):
        transaction.drop(opened.open_db(b"a", transaction), delete=False)
        parent.send("in the middle")
        signal.pause()


Job = Callable[[Path, Connection], None]


def _start(job: Job, directory: Path) -> tuple[Any, Connection]:
    """Run a job in a process of its own, with a pipe to here."""
    ours, theirs = spawning.Pipe()
    process = spawning.Process(target=job, args=(directory, theirs), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def _kill(process: Any) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_processes_find_each_others_answers(directory: Path) -> None:
    store = SharedMemory(directory, TTL)
    store.set_many(entries(range(100, 200)))
    process, pipe = _start(_write_one, directory)
    assert pipe.recv() == set(range(100, 200))
    assert known(store, range(3)) == {0, 1, 2}
    process.join()
    store.close()


def test_one_process_reads_while_another_evicts(directory: Path) -> None:
    store = SharedMemory(directory, TTL)
    process, pipe = _start(_write_forever, directory)
    while pipe.recv() < 15_000:
        known(store, range(20_000))
    _kill(process)
    store.set_many(entries(range(30_000, 30_100)))
    assert known(store, range(30_000, 30_100)) == set(range(30_000, 30_100))
    store.close()


@pytest.mark.parametrize("written", [1, 2, 5, 20, 60])
def test_a_store_survives_the_death_of_a_writer(directory: Path, written: int) -> None:
    process, pipe = _start(_write_forever, directory)
    for _ in range(written):
        start = pipe.recv()
    _kill(process)
    store = SharedMemory(directory, TTL)
    assert known(store, range(20_000)) >= set(range(start - 50, start))
    store.set_many(entries(range(30_000, 40_000)))
    assert known(store, range(39_000, 40_000)) == set(range(39_000, 40_000))
    store.close()


def test_the_lock_of_a_dead_writer_is_free(directory: Path) -> None:
    store = SharedMemory(directory, TTL)
    store.set_many(entries(range(3)))
    process, pipe = _start(_die_while_writing, directory)
    assert pipe.recv() == "in the middle"
    assert known(store, range(3)) == {0, 1, 2}
    _kill(process)
    store.set_many(entries(range(3, 6)))
    assert known(store, range(6)) == set(range(6))
    store.close()
