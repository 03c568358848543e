"""One model that is swapped under load: its versions, its requests, one run."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from loadtests.load import openloop, procfs
from loadtests.load.openloop import Phase
from loadtests.load.samples import Samples
from loadtests.load.traffic import Rows, Traffic, Zipf
from loadtests.swaps.gauges import Gauge, Gauges
from tests.support.service import Service, running

MODEL = "m"
_ROWS = 20_000  # that are requested, by Zipf's law
_EXPONENT = 1.0
_START_SECONDS = 10.0  # of the load, at most
_AFTER_SECONDS = 5.0  # from the first answer of a version to the next version
_LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Case:
    """A model, and how it is swapped.

    make: exports the version of a number. rate: requests a second. swaps: how often it
    is replaced, after quiet_seconds. gap_seconds: how long a new version has at most
    until it answers.
    """

    name: str
    make: Callable[[Path, int], object]
    rows: Rows
    rate: float
    swaps: int
    gap_seconds: float
    quiet_seconds: float

    @property
    def most_seconds(self) -> float:
        """The length of the run, at most."""
        swaps = self.swaps * (self.gap_seconds + 2 * _AFTER_SECONDS)
        return _START_SECONDS + self.quiet_seconds + swaps

    @property
    def traffic(self) -> Traffic:
        """Its requests."""
        path = f"/v1/api/model/{MODEL}/eval"
        return Traffic(path, self.rows, recurring=_ROWS, zipf=Zipf(_EXPONENT))


@dataclass(frozen=True)
class Measured:
    """A run: all requests, when versions were put there, what the service held.

    moved and the gauges: by the clock of perf_counter.
    """

    case: Case
    samples: Samples
    moved: Sequence[float]
    gauges: Sequence[Gauge]

    @property
    def seconds(self) -> float:
        """The length of the run."""
        return float(self.samples.due.max())


def measure(case: Case, folder: Path, load_cores: Sequence[int]) -> Measured:
    """Run a service of two workers, and swap its model while it answers."""
    waiting = folder / "waiting"
    for number in range(1, case.swaps + 2):
        case.make(waiting / str(number), number)
    live = folder / "live"
    live.mkdir()
    (waiting / "1").rename(live / "1")
    (folder / "service").mkdir()
    with running(folder / "service", _config(live)) as service:
        for pid in procfs.family(service.process.pid):
            procfs.pin(pid, procfs.cores()[:1])  # and stagings, which inherit it
        load = openloop.Load(
            service.url,
            case.traffic,
            (Phase(case.most_seconds, case.rate),),
            keeps_exchanges=True,
            stop_file=folder / "over",
        )
        with Gauges(service) as gauges, openloop.started(load, load_cores) as future:
            moved = list(_moves(case, waiting, live, service))
            (folder / "over").touch()
            samples = future.result()
    return Measured(case, samples, moved, gauges.read)


def _moves(case: Case, waiting: Path, live: Path, service: Service) -> Iterator[float]:
    """Put one version after the other there; yield when that was.

    The next one follows when the one before answers, or has had its time.
    """
    sleep(case.quiet_seconds)
    for swap in range(case.swaps):
        name = str(swap + 2)
        before = _version(service)
        (waiting / name).rename(live / name)
        moved = perf_counter()
        yield moved
        while _version(service) == before and perf_counter() < moved + case.gap_seconds:
            sleep(_LOOK_SECONDS)
        sleep(_AFTER_SECONDS)


def _version(service: Service) -> str:
    return str(service.ready()["models"][MODEL].get("version"))


def _config(live: Path) -> dict[str, Any]:
    return {
        "endpoint": {"workers": 2},
        "models": [{"id": MODEL, "url": str(live), "datastore": "answers"}],
        "datastores": [{"id": "answers", "memory_mb": 256}],
        # As they are by default, which those of tests are not.
        "watch": {"patient_seconds": 60},
    }
