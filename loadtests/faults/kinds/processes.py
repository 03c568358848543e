"""Processes that are killed, or stand still."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from loadtests.faults.fault import Fault
from loadtests.faults.scene import Scene, until
from tests.support.processes import is_running
from tests.support.service import wait_for

_STEP_SECONDS = 30.0  # for a step of a reload to come


@contextmanager
def _a_worker_killed(scene: Scene) -> Iterator[None]:
    scene.kill([scene.busiest()])
    yield


@contextmanager
def _all_workers_killed(scene: Scene) -> Iterator[None]:
    scene.kill(scene.service.worker_pids())
    yield


@contextmanager
def _a_worker_paused(scene: Scene) -> Iterator[None]:
    with _paused(scene.busiest()):
        yield


@contextmanager
def _a_worker_hung(scene: Scene) -> Iterator[None]:
    """It stands still until it is replaced: for `worker_timeout_seconds`."""
    victim = scene.busiest()
    os.kill(victim, signal.SIGSTOP)
    scene.lost |= scene.peers([victim])
    wait_for(lambda: not is_running(victim), 30)
    yield


@contextmanager
def _the_master_killed(scene: Scene) -> Iterator[None]:
    workers = scene.service.worker_pids()
    scene.kill([*workers, scene.service.master_pid()][-1:])
    scene.lost |= scene.peers(workers)  # they end with it
    wait_for(lambda: not any(map(is_running, workers)), 30)
    yield


@contextmanager
def _the_master_paused(scene: Scene) -> Iterator[None]:
    with _paused(scene.service.master_pid()):
        yield


@contextmanager
def _the_supervisor_paused(scene: Scene) -> Iterator[None]:
    with _paused(scene.service.process.pid):
        yield


@contextmanager
def _paused(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def _the_supervisor_killed(scene: Scene) -> Iterator[None]:
    scene.kill_supervisor()
    scene.service.launch()
    yield


def _is_staging(scene: Scene) -> bool:
    return any(scene.service.files.models.glob("m/.staging-*"))


def _is_published(scene: Scene, before: str) -> bool:
    return scene.digest() not in ("", before)


def _is_loaded(scene: Scene, before: str) -> bool:
    return "is live" in scene.service.text().rpartition("publishing version")[2]


_STEPS: dict[str, Callable[[Scene, str], bool]] = {
    "has found new files": lambda scene, before: True,
    "stages": lambda scene, before: _is_staging(scene),
    "has published": _is_published,
    "workers load": _is_loaded,
}


@contextmanager
def _killed_at(step: str, scene: Scene) -> Iterator[None]:
    """Kill the supervisor at a step of a reload; the next start has to end it."""
    before = scene.digest()
    scene.put(scene.following())
    until(partial(_STEPS[step], scene, before), _STEP_SECONDS)
    scene.kill_supervisor()
    scene.service.launch()
    yield


FAULTS = (
    Fault("a worker is killed", _a_worker_killed, lasts=False),
    Fault("all workers are killed", _all_workers_killed, lasts=False, longest=15),
    Fault("a worker stands still for a while", _a_worker_paused, longest=10),
    Fault("a worker hangs", _a_worker_hung, lasts=False, longest=20),
    Fault("the master is killed", _the_master_killed, lasts=False, longest=15),
    Fault("the master stands still", _the_master_paused),
    Fault("the supervisor stands still", _the_supervisor_paused),
    Fault("the supervisor is killed", _the_supervisor_killed, False, longest=20),
    *[
        Fault(
            f"the supervisor is killed when it {step}"
            if "workers" not in step
            else f"the supervisor is killed when {step}",
            partial(_killed_at, step),
            lasts=False,
            longest=25,
        )
        for step in _STEPS
    ],
)
