"""Writers of L1 that are killed: python -m loadtests.l1.storm [KILLS]

Three processes write to a small store and three read from it, with no pause. Every
50 ms a writer that has begun is killed, and another started in its place. Prints how
many answers the readers found, and how many of them were wrong.
"""

import multiprocessing
import random
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.stores import TTL_SECONDS, fresh_directory, key

_NUMBERS = 60_000
_PAUSE_SECONDS = 0.05
_PROCESSES = 3  # of each kind


class Storm(NamedTuple):
    """What readers found while writers were killed."""

    kills: int
    lookups: int
    hits: int
    wrong: int


class Counts(NamedTuple):
    """Of one reader."""

    lookups: int
    hits: int
    wrong: int


class _Writer(NamedTuple):
    """A process that writes, and whether it has begun."""

    process: BaseProcess
    has_written: Event

    def kill(self) -> None:
        self.process.kill()
        self.process.join()


def answer(number: int) -> bytes:
    """Return an answer that no other number has, short or long."""
    return b"%d:" % number * (1 + number % 37)


def storm(directory: Path, kills: int, seed: int = 0) -> Storm:
    """Write and read until so many writers are killed."""
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["gomlx.cache.shared_memory.tier"])
    chance = random.Random(seed)

    def writer() -> _Writer:
        has_written = forking.Event()
        arguments = (directory, chance.random(), has_written)
        process = forking.Process(target=_write_forever, args=arguments)
        process.start()
        return _Writer(process, has_written)

    pipes = []
    readers = []
    for _ in range(_PROCESSES):
        ours, theirs = forking.Pipe()
        arguments = (directory, chance.random(), theirs)
        readers.append(forking.Process(target=_read_until_told, args=arguments))
        readers[-1].start()
        theirs.close()
        pipes.append(ours)
    _kill([writer() for _ in range(_PROCESSES)], writer, kills, chance)
    counts = [_result(pipe) for pipe in pipes]
    for reader in readers:
        reader.join()
    return Storm(kills, *map(sum, zip(*counts, strict=True)))


def _kill(
    writers: list[_Writer],
    start: Callable[[], _Writer],
    kills: int,
    chance: random.Random,
) -> None:
    """Kill writers at random, and start others."""
    for _ in range(kills):
        time.sleep(_PAUSE_SECONDS)
        i = chance.randrange(len(writers))
        assert writers[i].has_written.wait(60), "a writer does not begin"
        writers[i].kill()
        writers[i] = start()
    for writer in writers:
        writer.kill()


def _result(pipe: Connection) -> Counts:
    pipe.send("enough")
    counts: Counts = pipe.recv()
    return counts


def _write_forever(directory: Path, seed: float, has_written: Event) -> None:
    store = SharedMemory(directory)
    chance = random.Random(seed)
    while True:
        numbers = chance.choices(range(_NUMBERS), k=chance.randrange(1, 200))
        items = {key(n): (answer(n), TTL_SECONDS) for n in numbers}
        if chance.random() < 0.5:
            store.set_some(items)
        else:
            store.set_many(items)
            has_written.set()


def _read_until_told(directory: Path, seed: float, parent: Connection) -> None:
    store = SharedMemory(directory, l0=InProcessCache(max_entries=0))
    chance = random.Random(seed)
    lookups = 0
    hits = 0
    wrong = 0
    while not parent.poll():
        by_key = {key(n): n for n in chance.choices(range(_NUMBERS), k=50)}
        found = store.get_many(list(by_key))
        lookups += len(by_key)
        hits += len(found)
        wrong += sum(value != answer(by_key[one]) for one, value in found.items())
    store.set_many({})  # what it would have written again
    parent.send(Counts(lookups, hits, wrong))


def main(kills: int) -> None:
    """Print what the readers found."""
    with fresh_directory(2) as directory:
        print(storm(directory, kills))  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
