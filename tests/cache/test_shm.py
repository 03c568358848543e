"""L1 in real shared memory, with other processes that write, read and die."""

import multiprocessing
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lmdb
import pytest

from gomlx.cache.shm import SharedMemory, create_store
from gomlx.errors import StoreUnavailable, TooLarge

SIZE = 1 << 20
TTL = 100
spawning = multiprocessing.get_context("spawn")


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def answer(number: int) -> bytes:
    """100 bytes that belong to this number only."""
    return b"%020d" % number * 5


def entries(numbers: range) -> dict[bytes, tuple[bytes, float]]:
    return {key(n): (answer(n), TTL) for n in numbers}


def known(store: SharedMemory, numbers: range) -> set[int]:
    """Which are found; what is found must be right."""
    found = store.get_many([key(n) for n in numbers])
    assert all(found.get(key(n), answer(n)) == answer(n) for n in numbers)
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
    store = SharedMemory(directory, clock)
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
    store.set_many({key(1): (value, TTL)})
    assert store.get_many([key(1)]) == {key(1): value}


def test_a_later_value_replaces_an_earlier_one(store: SharedMemory) -> None:
    store.set_many({key(1): (b"old", TTL)})
    store.set_many({key(1): (b"new", TTL)})
    assert store.get_many([key(1)]) == {key(1): b"new"}


def test_an_answer_expires(store: SharedMemory, clock: Clock) -> None:
    store.set_many(entries(range(1)))
    clock.now += TTL - 0.001
    assert known(store, range(1)) == {0}
    clock.now += 0.001
    assert known(store, range(1)) == set()


def test_every_answer_has_its_own_time_to_live(
    store: SharedMemory, clock: Clock
) -> None:
    start = clock.now
    lives = (-1.0, 0.0, 0.001, 1.5, 1e9)
    store.set_many({key(n): (answer(n), life) for n, life in enumerate(lives)})
    assert known(store, range(5)) == {2, 3, 4}
    clock.now = start + 0.001
    assert known(store, range(5)) == {3, 4}
    clock.now = start + 1.499
    assert known(store, range(5)) == {3, 4}
    clock.now = start + 1.5
    assert known(store, range(5)) == {4}


def test_an_answer_that_is_set_again_lives_on(
    store: SharedMemory, clock: Clock
) -> None:
    store.set_many(entries(range(2)))
    clock.now += TTL / 2
    store.set_many(entries(range(1)))
    clock.now += TTL / 2
    assert known(store, range(2)) == {0}


def test_a_store_outlives_those_who_opened_it(directory: Path) -> None:
    first = SharedMemory(directory)
    first.set_many(entries(range(3)))
    first.close()
    second = SharedMemory(directory)
    assert known(second, range(3)) == {0, 1, 2}
    second.close()


def test_making_a_store_empties_it(directory: Path, store: SharedMemory) -> None:
    store.set_many(entries(range(3)))
    store.close()
    create_store(directory, SIZE)
    fresh = SharedMemory(directory)
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


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.2, 0.3])
def test_large_answers_are_evicted_as_well(store: SharedMemory, share: float) -> None:
    value = b"x" * int(SIZE * share)
    for number in range(150):
        store.set_many({key(number): (value, TTL)})
    assert store.get_many([key(149)]) == {key(149): value}
    assert store.get_many([key(n) for n in range(75)]) == {}


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
        with pytest.raises(TooLarge):
            store.set_many({key(number): (b"x" * 2 * SIZE, TTL)})
        assert known(store, range(3)) == {0, 1, 2}
    store.set_many(entries(range(3, 6)))
    assert known(store, range(6)) == set(range(6))


def _write_when_asked(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory)
    while (numbers := parent.recv()) is not None:
        store.set_many(entries(numbers))
        parent.send(known(store, range(100_000, 100_010)))
    store.close()


def _write_forever(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory)
    start = 0
    while True:
        # So small a store is full for as long as a reader, paused in the middle,
        # keeps pages from being used again.
        with suppress(lmdb.MapFullError):
            store.set_many(entries(range(start, start + 50)))
            parent.send(start)
            start = (start + 50) % 20_000


def _die_while_writing(directory: Path, parent: Connection) -> None:
    with (
        lmdb.open(str(directory), map_size=SIZE, max_dbs=3, writemap=True) as opened,
        opened.begin(write=True) as transaction,
    ):
        transaction.drop(opened.open_db(b"a", transaction), delete=False)
        parent.send("in the middle")
        signal.pause()


Job = Callable[[Path, Connection], None]


class Process:
    """A job in a process of its own, with a pipe to it."""

    def __init__(self, job: Job, directory: Path) -> None:
        self.pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=job, args=(directory, theirs))
        self._process.start()
        theirs.close()

    def ask(self, numbers: range) -> Any:
        self.pipe.send(numbers)
        return self.pipe.recv()

    def kill(self) -> Any:
        """Kill it, and return the last thing that it has sent."""
        self._process.kill()
        self._process.join()
        last = None
        with suppress(EOFError):
            while True:
                last = self.pipe.recv()
        return last


Run = Callable[[Job], Process]


@pytest.fixture
def run(directory: Path) -> Iterator[Run]:
    processes: list[Process] = []

    def start(job: Job) -> Process:
        processes.append(Process(job, directory))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()


def test_processes_find_each_others_answers(store: SharedMemory, run: Run) -> None:
    store.set_many(entries(range(100_000, 100_003)))
    other = run(_write_when_asked)
    assert other.ask(range(3)) == {100_000, 100_001, 100_002}
    assert known(store, range(10)) == {0, 1, 2}


def test_what_is_read_while_another_process_evicts_is_right(
    store: SharedMemory, run: Run
) -> None:
    other = run(_write_forever)
    while (start := other.pipe.recv()) < 15_000:
        known(store, range(start, start + 500))


def test_who_only_read_for_long_can_write(store: SharedMemory, run: Run) -> None:
    other = run(_write_when_asked)
    for start in range(0, 30_000, 100):
        numbers = range(start, start + 100)
        other.ask(numbers)
        assert known(store, numbers) == set(numbers)
    store.set_many(entries(range(1)))
    assert known(store, range(1)) == {0}


@pytest.mark.parametrize("batches", [1, 2, 5, 20, 60])
def test_a_store_survives_the_death_of_a_writer(
    directory: Path, run: Run, batches: int
) -> None:
    writer = run(_write_forever)
    for _ in range(batches):
        last = writer.pipe.recv()
    last = writer.kill() or last
    reader = SharedMemory(directory)
    assert known(reader, range(20_000)) >= set(range(last, last + 50))
    reader.close()
    store = SharedMemory(directory)
    for start in range(30_000, 35_000, 100):
        store.set_many(entries(range(start, start + 100)))
    assert known(store, range(34_000, 35_000)) == set(range(34_000, 35_000))
    store.close()


def test_the_lock_of_a_dead_writer_is_free(store: SharedMemory, run: Run) -> None:
    store.set_many(entries(range(3)))
    writer = run(_die_while_writing)
    assert writer.pipe.recv() == "in the middle"
    assert known(store, range(3)) == {0, 1, 2}
    writer.kill()
    store.set_many(entries(range(3, 6)))
    assert known(store, range(6)) == set(range(6))
