"""Stores of L1 in shared memory, and answers to fill them with."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory

TTL_SECONDS = 3600.0


def key(number: int) -> bytes:
    """Return the key of a number."""
    return blake2b(number.to_bytes(8, "little"), digest_size=16).digest()


def answer(number: int) -> bytes:
    """Return an answer of 100 bytes, which no other number has."""
    return b"%020d" % number * 5


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Yield a folder in shared memory."""
    folder = Path(tempfile.mkdtemp(prefix="gomlx-load-", dir="/dev/shm"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def fresh_directory(megabytes: int) -> Iterator[Path]:
    """Yield the directory of an empty store."""
    with temporary_folder() as folder:
        create_store(folder / "store", megabytes << 20)
        yield folder / "store"


@contextmanager
def fresh_store(megabytes: int) -> Iterator[SharedMemory]:
    """Yield an empty store."""
    with fresh_directory(megabytes) as directory:
        store = SharedMemory(directory)
        yield store
        store.close()


def fill(store: SharedMemory, numbers: range, batch: int) -> None:
    """Write the answers of numbers, so many at once."""
    for start in range(numbers.start, numbers.stop, batch):
        part = range(start, min(start + batch, numbers.stop))
        store.set_many({key(n): (answer(n), TTL_SECONDS) for n in part})
