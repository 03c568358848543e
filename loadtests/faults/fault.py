"""A fault, and how it is done to a service under an open-loop load."""

import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep

from loadtests.faults.footprint import footprint, grown
from loadtests.faults.judge import Limits, Outcome, judge
from loadtests.faults.scene import Scene
from loadtests.load import openloop, procfs
from loadtests.load.openloop import Load, Phase
from loadtests.load.samples import Samples
from loadtests.load.traffic import Rows, Traffic

CONNECTIONS = 48
RATE = 250.0  # requests per second: as many as leave room for a busy machine
_HITS = 0.5
_RECURRING = 200
_QUIET_SECONDS = 0.7
_MOST_SECONDS = 120.0
_START_SECONDS = 30.0
_SETTLE_SECONDS = 5.0  # for descriptors to be closed, and files to be removed
_POLL_SECONDS = 0.05

Make = Callable[[Scene], AbstractContextManager[None]]


@dataclass(frozen=True)
class Offered:
    """The load during a fault. rows: None for those of the scene's models.

    rate: in requests per second, or what measures it first.
    """

    model: str = "m"
    rows: Rows | None = None
    rate: float | Callable[[Scene], float] = RATE
    connections: int = CONNECTIONS
    hits: float = _HITS


@dataclass(frozen=True)
class Fault:
    """A fault by name.

    make: a context, in which the fault is. lasts: it is there for as long as the suite
    says; others are over once they are made. longest: seconds within which every answer
    has to come; recovery: seconds until all has to be as before. refusals: statuses
    that requests may get. needs_root: it can be made by root only. missing: says what
    else it needs that is not here, or "".
    """

    name: str
    make: Make
    lasts: bool = True
    longest: float = 2.0
    recovery: float = 40.0
    refusals: Collection[int] = ()
    offered: Offered = Offered()
    needs_root: bool = False
    missing: Callable[[], str] = str


def run(fault: Fault, scene: Scene, seconds: float, start: int) -> Outcome:
    """Do a fault to a service under load, and judge it.

    seconds: how long it lasts; start: the number of the first row that is new.
    """
    scene.lost.clear()
    scene.ends.clear()
    scene.notes.clear()
    before = footprint(scene.service)
    with _loaded(scene, fault.offered, start) as load:
        with fault.make(scene):
            sleep(seconds if fault.lasts else 0)
        began = perf_counter()
        recovery = _recovery(scene, began, fault.recovery)
        # A fault that is over at once needs a load that shows what comes of it.
        sleep(max(_QUIET_SECONDS, 0 if fault.lasts else seconds))
        load.end()
        samples = load.samples.result()
    limits = Limits(
        fault.longest, fault.recovery, fault.refusals, {*scene.lost}, [*scene.ends]
    )
    replies = judge(samples, scene.answers, limits)
    left = _left(scene, before) if recovery is not None else []
    return Outcome(fault.name, replies, recovery, left + scene.notes, limits)


@dataclass
class _Running:
    """A load that runs until it is ended."""

    samples: "Future[Samples]"
    stop_file: Path

    def end(self) -> None:
        """Send no more; requests under way get their responses."""
        self.stop_file.touch()


@contextmanager
def _loaded(scene: Scene, offered: Offered, start: int) -> Iterator[_Running]:
    """Load a service from another process; go on once all connections are made."""
    path = f"/v1/api/model/{offered.model}/eval"
    rows = offered.rows or scene.sources.rows
    traffic = Traffic(path, rows, offered.hits, _RECURRING, start=start)
    rate = offered.rate if isinstance(offered.rate, float) else offered.rate(scene)
    with tempfile.TemporaryDirectory() as folder:
        stop_file = Path(folder) / "stop"
        phases = (Phase(_MOST_SECONDS, rate),)
        count = offered.connections
        url = scene.service.url
        ca = scene.tls.ca if scene.tls else None
        load = Load(url, traffic, phases, count, True, stop_file, ca)
        with openloop.started(load, procfs.cores()) as samples:
            running = _Running(samples, stop_file)
            deadline = perf_counter() + _START_SECONDS
            while len(procfs.peers(scene.port)) < count:
                if samples.done() or perf_counter() > deadline:
                    raise RuntimeError(f"no load: {samples.exception()}")
                sleep(_POLL_SECONDS)
            sleep(_QUIET_SECONDS)
            try:
                yield running
            finally:
                running.end()


def _recovery(scene: Scene, began: float, most: float) -> float | None:
    """Return the seconds until all is as before, or None."""
    while perf_counter() < began + most:
        if scene.is_as_before():
            return perf_counter() - began
        sleep(_POLL_SECONDS)
    return None


def _left(scene: Scene, before: dict[str, int]) -> list[str]:
    """Return what has remained, once it has had its time to go."""
    deadline = perf_counter() + _SETTLE_SECONDS
    while True:
        left = grown(before, footprint(scene.service))
        if not left or perf_counter() > deadline:
            return left
        sleep(_POLL_SECONDS)
