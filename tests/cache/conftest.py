"""A store in real shared memory."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gomlx.cache.shm import SharedMemory
from gomlx.cache.store import create_store
from tests.cache.entries import SIZE


class Clock:
    """Time that passes when told."""

    def __init__(self) -> None:
        self.now = float(int(time.time()))

    def __call__(self) -> float:
        return self.now


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
