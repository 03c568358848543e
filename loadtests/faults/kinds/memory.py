"""Shared memory that is full, damaged, truncated or removed."""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gomlx.runtime.rundir import SHARED_MEMORY
from loadtests.faults.fault import Fault
from loadtests.faults.namespace import filled
from loadtests.faults.scene import Scene
from loadtests.load.traffic import LAST

_BATCH = 1000
_BATCHES = 150  # more answers than the ring can hold
_DAMAGES = 2000
_DAMAGE_BYTES = 8


def _ring(scene: Scene) -> Path:
    return scene.service.files.store("l1") / "ring"


@contextmanager
def _full(scene: Scene) -> Iterator[None]:
    """More answers are written than it can hold."""

    def write(batch: int) -> int:
        first = LAST + batch * _BATCH
        rows = {"word": ["w1"], "x": [*range(first, first + _BATCH)]}
        rows["batch_size"] = _BATCH  # type: ignore[assignment]
        return scene.service.post("m", rows).status_code

    statuses = {write(batch) for batch in range(_BATCHES)}
    if not statuses <= {200, 429}:
        scene.notes.append(f"batches got {statuses}")
    if not scene.service.metric("gomlx_store_evicted_bytes_total"):
        scene.notes.append("L1 was not full")
    yield


@contextmanager
def _damaged(scene: Scene) -> Iterator[None]:
    """Bytes anywhere in it change."""
    chance = random.Random(1)
    path = _ring(scene)
    size = path.stat().st_size
    with path.open("r+b", buffering=0) as file:
        for _ in range(_DAMAGES):
            file.seek(chance.randrange(size - _DAMAGE_BYTES))
            file.write(chance.randbytes(_DAMAGE_BYTES))
    yield


@contextmanager
def _truncated(scene: Scene) -> Iterator[None]:
    """Who reads it in the next second or two dies by SIGBUS."""
    scene.lost |= scene.peers(scene.service.worker_pids())
    os.truncate(_ring(scene), 0)
    yield


@contextmanager
def _removed(scene: Scene) -> Iterator[None]:
    """All of the service's shared memory goes, as when a user logs out."""
    shutil.rmtree(scene.service.files.shared)
    yield


@contextmanager
def _too_small(scene: Scene) -> Iterator[None]:
    """Others take all of /dev/shm, and a worker has to start then."""
    with filled(SHARED_MEMORY):
        scene.kill([scene.busiest()])
        yield


@contextmanager
def _removed_and_too_small(scene: Scene) -> Iterator[None]:
    """It cannot be made anew as long as others take all of /dev/shm."""
    shutil.rmtree(scene.service.files.shared)
    with filled(SHARED_MEMORY):
        yield


FAULTS = (
    Fault("L1 is full", _full, lasts=False, refusals=(429,)),  # it is a flood, too
    Fault("L1 is damaged", _damaged),
    Fault("L1 is truncated", _truncated, longest=15),
    Fault("L1 is removed", _removed, lasts=False),
    Fault("/dev/shm is full, and a worker dies", _too_small, needs_root=True),
    Fault("L1 is removed, /dev/shm is full", _removed_and_too_small, needs_root=True),
)
