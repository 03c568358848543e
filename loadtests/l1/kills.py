"""How long other processes wait when a writer of L1 is killed during a write."""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import NamedTuple

from gomlx.cache.shared_memory.lock import WriterLock
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.stores import answer, fill, key


class Kills(NamedTuple):
    """What another process measured while writers were killed.

    found: right answers that it read. longest_ms: of its look-ups and of its writes.
    """

    writers: int
    found: int
    longest_ms: dict[str, float]


class Watcher:
    """Reads and writes beside other writers, and measures the latency."""

    def __init__(self, directory: Path) -> None:
        self._store = SharedMemory(directory)
        self.found = 0
        self.longest_ms = {"look-up": 0.0, "write": 0.0}

    def look(self, number: int) -> None:
        """Read what a writer of this number writes, then write something else.

        Raises AssertionError for a wrong answer.
        """
        numbers = range(number * 1000, number * 1000 + 50)
        keys = [key(n) for n in numbers]
        started = time.perf_counter()
        found = self._store.get_many(keys)
        self._measure("look-up", started)
        for n, one in zip(numbers, keys, strict=True):
            if one in found:
                self.found += 1
                assert found[one] == answer(n), n
        started = time.perf_counter()
        fill(self._store, range(10**6, 10**6 + 10), 10)
        self._measure("write", started)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def _measure(self, what: str, started: float) -> None:
        elapsed = (time.perf_counter() - started) * 1000
        self.longest_ms[what] = max(self.longest_ms[what], elapsed)


def kill_writers(directory: Path, times: int, seed: int = 0) -> Kills:
    """Kill processes during a write; read and write before and after.

    Raises AssertionError for a wrong answer.
    """
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["gomlx.cache.shared_memory.tier"])
    chance = random.Random(seed)
    watcher = Watcher(directory)
    lock = WriterLock(directory)
    for number in range(times):
        watch = partial(watcher.look, number)
        has_written = forking.Event()
        arguments = (directory, has_written, number)
        victim = forking.Process(target=_write_forever, args=arguments)
        victim.start()
        while not has_written.is_set():
            assert victim.is_alive(), "the writer has ended"
            watch()
        _pause_during_a_write(victim.pid or 0, lock, chance, watch)
        victim.kill()
        watch()
        victim.join()
    lock.close()
    watcher.close()
    return Kills(times, watcher.found, watcher.longest_ms)


def _pause_during_a_write(
    pid: int, lock: WriterLock, chance: random.Random, meanwhile: Callable[[], None]
) -> None:
    """Stop a process at random moments until it has stopped with the lock held."""
    while True:
        meanwhile()
        time.sleep(chance.uniform(0, 0.005))
        os.kill(pid, signal.SIGSTOP)
        while (state := _state_of(pid)) != "T":
            assert state != "Z", "the writer has ended"
        if not lock.try_acquire():
            return
        lock.release()
        os.kill(pid, signal.SIGCONT)


def _state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _write_forever(directory: Path, has_written: Event, number: int) -> None:
    store = SharedMemory(directory)
    start = number * 1000
    while True:
        fill(store, range(start, start + 500), 500)
        has_written.set()
