"""One measured run: what a system does under load, and what it costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from loadtests.bench.counters import changes, counters
from loadtests.load import procfs, wrk
from loadtests.load.services import System
from loadtests.load.traffic import FIRST, LAST, Traffic


@dataclass(frozen=True)
class Cost:
    """What a run cost all processes of a system.

    seconds: of wall time. cpu: seconds. waited: the share of the time in which
    a process was ready to run and another had its core; a large share means that other
    programs used the machine. counted: what gomlx counted, see counters.changes.
    """

    seconds: float
    cpu: float
    waited: float
    pss_mb: float
    counted: Mapping[str, float | None]

    @property
    def lag_ms(self) -> float | None:
        """Return the longest lag of the event loop, if gomlx was measured."""
        return self.counted.get("lag_ms")


class Meter:
    """Measures the cost of what happens between its construction and read()."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._before = counters(system)
        self._waited = _waited(system.pids)
        self._cpu = procfs.cpu_seconds(system.pids)
        self._started = perf_counter()

    def read(self) -> Cost:
        """Return the cost so far."""
        seconds = perf_counter() - self._started
        cpu = procfs.cpu_seconds(self._system.pids) - self._cpu
        waited = (_waited(self._system.pids) - self._waited) / seconds
        pss = procfs.memory(self._system.pids).pss
        counted: Mapping[str, float | None] = {}
        if self._before is not None:
            after = counters(self._system)
            assert after is not None
            counted = changes(self._before, after)
        return Cost(seconds, cpu, waited, pss, counted)


def _waited(pids: Sequence[int]) -> float:
    """Return the seconds that the first threads of processes waited for a core."""
    texts = (Path(f"/proc/{pid}/schedstat").read_text() for pid in pids)
    return sum(int(text.split()[1]) for text in texts) / 1e9 / len(pids)


@dataclass(frozen=True)
class Saturation:
    """How a system is saturated. rows: of each request; cores: those that send."""

    name: str
    connections: int
    cores: Sequence[int]
    rows: int = 1


@dataclass(frozen=True)
class Run:
    """One run of a closed loop."""

    system: str
    how: Saturation
    load: wrk.Closed
    cost: Cost

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.load.requests / self.load.seconds

    @property
    def cpu_us(self) -> float:
        """CPU per request, in us, of all processes of the system."""
        return self.cost.cpu / self.load.requests * 1e6

    def as_dict(self) -> dict[str, Any]:
        """Return the run as results/table.json has it. Latencies in ms."""
        nothing = {"hits": None, "joined": None, "lag_ms": None}
        return {
            "name": self.how.name,
            "system": self.system,
            "connections": self.how.connections,
            "requests": self.load.requests,
            "failed": self.load.failed,
            "rate": self.rate,
            "cpu_us": self.cpu_us,
            "p50": self.load.p50,
            "p99": self.load.p99,
            "most": self.load.most,
            "waited": self.cost.waited,
            "pss_mb": self.cost.pss_mb,
            **nothing,
            **self.cost.counted,
        }


class Rig:
    """The cores that send, for how long, and the rows that are not yet requested.

    repeats: how many disturbed runs may be repeated, so that the whole table ends in
    time.
    """

    def __init__(self, load_cores: Sequence[int], seconds: float) -> None:
        self.load_cores = load_cores
        self.seconds = seconds
        self.repeats = 20
        self._next = FIRST + 100_000

    def fresh(self, rows: int) -> int:
        """Return the first of so many new rows."""
        first = self._next
        self._next += rows
        if self._next > LAST:
            raise RuntimeError("all rows have been requested: use fewer runs")
        return first

    def closed(self, system: System, traffic: Traffic, how: Saturation) -> Run:
        """Saturate a system with wrk."""
        start = -(-self._next // how.rows)
        meter = Meter(system)
        with procfs.on(how.cores):
            load = wrk.wrk(system.url, traffic.at(start), how.connections, self.seconds)
        cost = meter.read()
        if traffic.hits < 1:
            self.fresh((load.requests + 10 * how.connections) * how.rows)
        return Run(system.name, how, load, cost)
