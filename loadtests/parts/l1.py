"""What L1 costs and how well it chooses: python -m loadtests.parts.l1

Times are the best of several repeats, in microseconds, for answers of 100 bytes. The
hit ratio is that of a stream of look-ups of ten times as many keys as fit, beside that
of an exact LRU of as many entries as the same bytes hold. Last, how long other
processes wait when some are killed in the middle of a write.
"""

import multiprocessing
import os
import random
import shutil
import signal
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from hashlib import blake2b
from itertools import accumulate
from multiprocessing.synchronize import Event
from pathlib import Path
from timeit import repeat
from typing import NamedTuple

import lmdb

from gomlx.cache.shared_memory.lock import WriterLock
from gomlx.cache.shared_memory.store import create_store, environment
from gomlx.cache.shared_memory.tier import SharedMemory

LIFE = 3600.0
BATCH = 50


def key(number: int) -> bytes:
    return blake2b(number.to_bytes(8, "little"), digest_size=16).digest()


def answer(number: int) -> bytes:
    """100 bytes that belong to this number only."""
    return b"%020d" % number * 5


@contextmanager
def fresh_directory(megabytes: int) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="gomlx-load-", dir="/dev/shm"))
    try:
        create_store(folder / "store", megabytes << 20)
        yield folder / "store"
    finally:
        shutil.rmtree(folder)


@contextmanager
def fresh_store(megabytes: int) -> Iterator[SharedMemory]:
    with fresh_directory(megabytes) as directory:
        store = SharedMemory(directory)
        yield store
        store.close()


def fill(store: SharedMemory, numbers: range, batch: int) -> None:
    for start in range(numbers.start, numbers.stop, batch):
        part = range(start, min(start + batch, numbers.stop))
        store.set_many({key(n): (answer(n), LIFE) for n in part})


class Ratios(NamedTuple):
    """Hits of look-ups, of a store and of an exact LRU."""

    store: float
    lru: float
    entries: int  # of the LRU


def hit_ratios(megabytes: int, lookups: int, seed: int, skew: float = 0.9) -> Ratios:
    """Give both the same Zipf stream; its first half only warms them."""
    entries = entries_that_fit(megabytes)
    keys = 10 * entries
    weights = list(accumulate((rank + 1) ** -skew for rank in range(keys)))
    stream = random.Random(seed).choices(range(keys), cum_weights=weights, k=lookups)
    with fresh_store(megabytes) as store:
        ours = hits_of_store(store, stream)
    measured = lookups - lookups // 2
    return Ratios(ours / measured, hits_of_lru(entries, stream) / measured, entries)


def entries_that_fit(megabytes: int) -> int:
    """Return how many entries one table takes until the same bytes are full."""
    folder = Path(tempfile.mkdtemp(prefix="gomlx-load-", dir="/dev/shm"))
    entry = bytes(8) + answer(0) + bytes(4)
    number = 0
    try:
        with environment(folder, megabytes << 20) as opened:
            table = opened.open_db(b"0a")
            while True:
                with opened.begin(write=True, db=table) as transaction:
                    for number in range(number, number + 10):  # noqa: B020
                        transaction.put(key(number), entry)
    except lmdb.MapFullError:
        return number
    finally:
        shutil.rmtree(folder)


def hits_of_store(store: SharedMemory, stream: Sequence[int]) -> int:
    hits = 0
    keys = {number: key(number) for number in set(stream)}
    for start in range(0, len(stream), BATCH):
        batch = stream[start : start + BATCH]
        found = store.get_many([keys[number] for number in batch])
        missing = {n: answer(n) for n in batch if keys[n] not in found}
        store.set_many({keys[n]: (value, LIFE) for n, value in missing.items()})
        if start >= len(stream) // 2:
            hits += len(batch) - len(missing)
    return hits


def hits_of_lru(entries: int, stream: Sequence[int]) -> int:
    hits = 0
    kept: OrderedDict[int, None] = OrderedDict()
    for position, number in enumerate(stream):
        if number in kept:
            kept.move_to_end(number)
            hits += position >= len(stream) // 2
        else:
            kept[number] = None
            if len(kept) > entries:
                kept.popitem(last=False)
    return hits


class Kills(NamedTuple):
    """What another process saw while writers were killed."""

    writers: int
    found: int  # answers, all of them right
    longest_ms: dict[str, float]  # of a look-up, of a write


def kill_writers(directory: Path, times: int, seed: int = 0) -> Kills:
    """Kill processes in the middle of a write; read and write before and after.

    Raises AssertionError for an answer that is wrong.
    """
    forking = multiprocessing.get_context("forkserver")
    forking.set_forkserver_preload(["gomlx.cache.shared_memory.tier"])
    dice = random.Random(seed)
    watcher = Watcher(directory)
    lock = WriterLock(directory)
    for number in range(times):
        watch = partial(watcher.look, number)
        has_written = forking.Event()
        arguments = (directory, has_written, number)
        victim = forking.Process(target=write_forever, args=arguments)
        victim.start()
        while not has_written.is_set():
            assert victim.is_alive(), "the writer has ended"
            watch()
        pause_in_a_write(victim.pid or 0, lock, dice, watch)
        victim.kill()
        watch()
        victim.join()
    lock.close()
    watcher.close()
    return Kills(times, watcher.found, watcher.longest_ms)


def pause_in_a_write(
    pid: int, lock: WriterLock, dice: random.Random, meanwhile: Callable[[], None]
) -> None:
    """Stop a process at random moments until it has stopped with the lock held."""
    while True:
        meanwhile()
        time.sleep(dice.uniform(0, 0.005))
        os.kill(pid, signal.SIGSTOP)
        while (state := state_of(pid)) != "T":
            assert state != "Z", "the writer has ended"
        if not lock.try_acquire():
            return
        lock.release()
        os.kill(pid, signal.SIGCONT)


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def write_forever(directory: Path, has_written: Event, number: int) -> None:
    store = SharedMemory(directory)
    start = number * 1000
    while True:
        with suppress(lmdb.MapFullError):  # a watcher that stands still holds the pages
            fill(store, range(start, start + 500), 500)
            has_written.set()


class Watcher:
    """Reads and writes beside other writers, and measures how long that takes."""

    def __init__(self, directory: Path) -> None:
        self._store = SharedMemory(directory)
        self.found = 0
        self.longest_ms = {"look-up": 0.0, "write": 0.0}

    def look(self, number: int) -> None:
        numbers = range(number * 1000, number * 1000 + 50)
        keys = [key(n) for n in numbers]
        began = time.perf_counter()
        found = self._store.get_many(keys)
        self._measure("look-up", began)
        for n, one in zip(numbers, keys, strict=True):
            if one in found:
                self.found += 1
                assert found[one] == answer(n), n
        began = time.perf_counter()
        fill(self._store, range(10**6, 10**6 + 10), 10)
        self._measure("write", began)

    def close(self) -> None:
        self._store.close()

    def _measure(self, what: str, began: float) -> None:
        took = (time.perf_counter() - began) * 1000
        self.longest_ms[what] = max(self.longest_ms[what], took)


def microseconds(function: Callable[[], object], number: int, per: int) -> float:
    return min(repeat(function, number=number, repeat=7)) / number / per * 1e6


def costs() -> Iterator[tuple[str, float]]:
    """What a look-up and a write of one key cost, alone and in batches."""
    with fresh_store(64) as store:
        fill(store, range(100_000), 500)
        hits, misses = ([key(n + far) for n in range(100)] for far in (99_000, 10**6))
        for name, keys in (("hit", hits), ("miss", misses)):
            one = keys[:1]
            yield (
                f"get, {name}",
                microseconds(partial(store.get_many, one), 2000, 1),
            )
            yield (
                f"get, {name}, of 100",
                microseconds(partial(store.get_many, keys), 100, 100),
            )
        for batch in (1, 100, 500):
            numbers = iter(range(10**6, 10**8, batch))

            def put(batch: int = batch, numbers: Iterator[int] = numbers) -> None:
                start = next(numbers)
                fill(store, range(start, start + batch), batch)

            yield f"put, batches of {batch}", microseconds(put, 5000 // batch, batch)


def report() -> Iterator[str]:
    for name, cost in costs():
        yield f"{name:20} {cost:6.2f} us a key"
    for megabytes, lookups in ((2, 250_000), (8, 800_000), (32, 3_000_000)):
        ratios = hit_ratios(megabytes, lookups, seed=1)
        yield (
            f"{megabytes:3} MB: hit ratio {ratios.store:.3f}, an exact LRU of "
            f"{ratios.entries} entries {ratios.lru:.3f}"
        )
    with fresh_directory(8) as directory:
        kills = kill_writers(directory, 50)
    longest = ", ".join(
        f"a {what} {ms:.1f} ms" for what, ms in kills.longest_ms.items()
    )
    yield f"{kills.writers} writers killed in a write; others' longest: {longest}"


def main() -> None:
    for line in report():
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
