"""Stores in real shared memory, and a real Redis server."""

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from tests.cache.clock import Clock
from tests.cache.entries import SIZE, TTL, entries, key
from tests.support.redis_servers import Server, server


@pytest.fixture
def directory(shared_folder: Path) -> Path:
    directory = shared_folder / "store"
    create_store(directory, SIZE)
    return directory


@pytest.fixture
def clock() -> Clock:
    return Clock(float(int(time.time())))


@pytest.fixture
def store(directory: Path, clock: Clock) -> Iterator[SharedMemory]:
    store = SharedMemory(directory, clock)
    yield store
    store.close()


@pytest.fixture(scope="package")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store on disk that has been full, with answers short and long."""
    directory = tmp_path_factory.mktemp("written") / "store"
    create_store(directory, SIZE)
    store = SharedMemory(directory)
    for start in range(0, 8000, 100):
        large = {key(100_000 + start // 100 % 50): (b"x" * 9000, TTL)}
        store.set_many(entries(range(start, start + 100)) | large)
    store.close()
    return directory


@pytest.fixture
def leftover(written: Path, shared_folder: Path) -> Path:
    """The store of an earlier run."""
    directory = shared_folder / "store"
    shutil.copytree(written, directory)
    with (directory / "ring").open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, SIZE)
    return directory


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def redis(running: Server) -> Server:
    """A server that is empty."""
    running.execute("FLUSHALL")
    return running
