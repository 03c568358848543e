"""A full disk, and files that vanish."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from loadtests.faults.fault import Fault
from loadtests.faults.namespace import filled
from loadtests.faults.scene import Scene


@contextmanager
def _full(scene: Scene) -> Iterator[None]:
    """New files are there, and cannot be staged; a worker has to start."""
    scene.put(scene.following())
    with filled(scene.service.folder):
        scene.kill([scene.busiest()])
        yield


@contextmanager
def _staged_files_vanish(scene: Scene) -> Iterator[None]:
    """Workers that start then cannot load the model until it is staged anew."""
    version = scene.service.files.models / "m" / scene.digest()
    shutil.rmtree(version)
    scene.kill([scene.busiest()])
    yield


@contextmanager
def _run_dir_vanishes(scene: Scene) -> Iterator[None]:
    """All of it: the files of every model."""
    shutil.rmtree(scene.service.files.models)
    yield


@contextmanager
def _sources_vanish(scene: Scene) -> Iterator[None]:
    """The files that a model was staged from go, and come back."""
    source = scene.service.folder / "m"
    away = source.with_suffix(".away")
    source.rename(away)
    yield
    away.rename(source)


@contextmanager
def _metrics_are_damaged(scene: Scene) -> Iterator[None]:
    """The files of counts are nonsense when a worker starts."""
    victim = scene.busiest()
    os.kill(scene.service.master_pid(), signal.SIGSTOP)
    try:
        scene.kill([victim])
        for path in scene.service.files.metrics.iterdir():
            path.write_bytes(b"damaged")
    finally:
        os.kill(scene.service.master_pid(), signal.SIGCONT)
    yield


FAULTS = (
    Fault("the disk is full, and a worker dies", _full, needs_root=True),
    Fault("staged files vanish, and a worker dies", _staged_files_vanish, False),
    Fault("run_dir's models vanish", _run_dir_vanishes, False),
    Fault("a model's source vanishes", _sources_vanish),
    Fault("metrics are damaged, and a worker dies", _metrics_are_damaged, False),
)
