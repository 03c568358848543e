"""Stores that several processes write and read, and processes that die."""

import mmap
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from gomlx.cache.shared_memory.store import adopt_store, create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.kills import kill_writers
from loadtests.l1.storm import storm
from tests.cache.entries import SIZE, TTL, entries, hits

spawning = multiprocessing.get_context("spawn")


def _write_on_request(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory)
    while (numbers := parent.recv()) is not None:
        store.set_many(entries(numbers))
        parent.send(hits(store, range(100_000, 100_010)))
    store.close()


def _write_forever(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory)
    start = 0
    while True:
        store.set_many(entries(range(start, start + 50)))
        parent.send(start)
        start = (start + 50) % 20_000


Job = Callable[[Path, Connection], None]


class Process:
    """A job in a process of its own, with a pipe to it."""

    def __init__(self, job: Job, directory: Path) -> None:
        self.pipe, theirs = spawning.Pipe()
        self._process = spawning.Process(target=job, args=(directory, theirs))
        self._process.start()
        theirs.close()

    def request(self, numbers: range) -> Any:
        self.pipe.send(numbers)
        return self.pipe.recv()

    def kill(self) -> Any:
        """Kill it, and return the last thing that it sent."""
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
    other = run(_write_on_request)
    assert other.request(range(3)) == {100_000, 100_001, 100_002}
    assert hits(store, range(10)) == {0, 1, 2}


def test_answers_read_while_another_process_evicts_are_right(
    store: SharedMemory, run: Run
) -> None:
    other = run(_write_forever)
    while (start := other.pipe.recv()) < 15_000:
        hits(store, range(start, start + 500))


def test_a_process_that_only_read_for_long_can_write(
    store: SharedMemory, run: Run
) -> None:
    other = run(_write_on_request)
    for start in range(0, 30_000, 100):
        numbers = range(start, start + 100)
        other.request(numbers)
        assert len(hits(store, numbers)) > 95
    store.set_many(entries(range(1)))
    assert hits(store, range(1)) == {0}


@pytest.mark.parametrize("batches", [1, 2, 5, 20, 60])
def test_a_store_survives_the_death_of_a_writer(
    directory: Path, run: Run, batches: int
) -> None:
    writer = run(_write_forever)
    for _ in range(batches):
        last = writer.pipe.recv()
    last = writer.kill() or last
    reader = SharedMemory(directory)
    assert len(hits(reader, range(last, last + 50))) > 45
    reader.close()
    store = SharedMemory(directory)
    for start in range(30_000, 35_000, 100):
        store.set_many(entries(range(start, start + 100)))
    assert len(hits(store, range(34_600, 35_000))) > 390
    store.close()


@pytest.mark.parametrize("seed", [1])
def test_twenty_writers_are_killed_in_the_middle(directory: Path, seed: int) -> None:
    """`kill_writers` compares everything that it finds."""
    kills = kill_writers(directory, 20, seed)
    assert kills.writers == 20
    assert kills.found > 200
    assert adopt_store(directory, SIZE)


def test_readers_find_nothing_wrong_while_writers_are_killed(directory: Path) -> None:
    seen = storm(directory, kills=20)
    assert seen.hits > 1000
    assert seen.wrong == 0


BATCHES = 2000
BATCH = 500


def numbered(batch: int) -> list[bytes]:
    """The keys of a batch. The answer to each is the key, six times."""
    data = random.Random(batch).randbytes(16 * BATCH)
    return [data[start : start + 16] for start in range(0, len(data), 16)]


def _write_a_million(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory)
    with (directory.parent / "progress").open("r+b") as file:
        progress = mmap.mmap(file.fileno(), 8)
    for batch in range(BATCHES):
        items = {key: (key * 6, TTL) for key in numbered(batch)}
        store.set_many(items)
        progress[:] = (batch + 1).to_bytes(8, "little")
    store.close()
    parent.send(BATCHES * BATCH)


def _read_what_is_written(directory: Path, parent: Connection) -> None:
    store = SharedMemory(directory)
    with (directory.parent / "progress").open("r+b") as file:
        progress = mmap.mmap(file.fileno(), 8)
    parent.send("reading")
    hits = wrong = written = 0
    while written < BATCHES:
        written = int.from_bytes(progress[:], "little")
        # Also those being written, and those overwritten.
        ago = random.choice((-1, 0, 1, 10, 100, 500, 1000))
        found = store.get_many(numbered(max(written - ago, 0)))
        hits += len(found)
        wrong += sum(value != key * 6 for key, value in found.items())
        time.sleep(0.001)  # leave the writer a processor
    parent.send((hits, wrong))


def test_a_million_answers_are_written_while_others_read(
    directory: Path, run: Run
) -> None:
    create_store(directory, 64 << 20)
    (directory.parent / "progress").write_bytes(bytes(8))
    readers = [run(_read_what_is_written) for _ in range(2)]
    assert {reader.pipe.recv() for reader in readers} == {"reading"}
    assert run(_write_a_million).pipe.recv() == 1_000_000
    for reader in readers:
        hits, wrong = reader.pipe.recv()
        assert wrong == 0
        assert hits > 10_000
    assert adopt_store(directory, 64 << 20)
