"""One measured run: what a service did while it was under load, and what it cost."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any

from loadtests.load import procfs, wrk
from loadtests.load.services import System
from loadtests.load.traffic import FIRST, LAST, Traffic

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Run:
    """Times are in ms, CPU is in us a request of all processes that answer.

    waited: the share of the time in which the service could have run and another
    process had its core; where that is large, somebody else used the machine. hits,
    joined: the share of rows found in a cache and the rows of a run, as gomlx counts.
    """

    name: str
    system: str
    connections: int
    requests: int
    failed: int
    rate: float
    cpu_us: float
    p50: float
    p99: float
    most: float
    waited: float
    pss_mb: float
    hits: float | None = None
    joined: float | None = None
    lag_ms: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Counters:
    """What gomlx has counted: the samples of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = _SAMPLE.findall(text)

    def total(self, name: str, *labels: str) -> float:
        """Return the sum of the samples that have all these labels: `code="200"`."""
        return sum(
            float(value)
            for found, has, value in self._samples
            if found == name and all(label in has for label in labels)
        )

    def buckets(self, name: str) -> dict[float, float]:
        """Return how many values were at most so large, by bound."""
        found: dict[float, float] = {}
        for sample, labels, value in self._samples:
            if sample == f"{name}_bucket":
                bound = float(re.search(r'le="([^"]+)"', labels)[1])  # type: ignore[index]
                found[bound] = found.get(bound, 0) + float(value)
        return found


class Meter:
    """Reads a system's counters at the start and at the end of a run."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._before = counters(system)
        self._waited = _waited(system.pids)
        self._cpu = procfs.cpu_seconds(system.pids)
        self._started = perf_counter()

    def read(self) -> "Cost":
        seconds = perf_counter() - self._started
        cpu = procfs.cpu_seconds(self._system.pids) - self._cpu
        waited = (_waited(self._system.pids) - self._waited) / seconds
        pss = procfs.memory(self._system.pids).pss
        counted: dict[str, float | None] = {}
        if self._before is not None:
            after = counters(self._system)
            assert after is not None
            counted = changes(self._before, after)
        return Cost(seconds, cpu, waited, pss, counted)


@dataclass(frozen=True)
class Cost:
    """What a run took: seconds, CPU seconds, and what gomlx counted meanwhile."""

    seconds: float
    cpu: float
    waited: float
    pss_mb: float
    counted: Mapping[str, float | None]


def changes(before: Counters, after: Counters) -> dict[str, float | None]:
    """Return hits, joined and lag_ms of a Run."""

    def grown(name: str, *labels: str) -> float:
        return after.total(name, *labels) - before.total(name, *labels)

    looked_up = grown("gomlx_cache_lookups_total")
    runs = grown("gomlx_model_runs_total")
    hits = grown("gomlx_cache_lookups_total", 'outcome="hit"')
    return {
        "hits": hits / looked_up if looked_up else None,
        "joined": grown("gomlx_batch_rows_sum") / runs if runs else None,
        "lag_ms": longest_lag(before, after),
    }


def longest_lag(before: Counters, after: Counters) -> float | None:
    """Return what the event loop was late by at most, in ms: a bucket's bound."""
    name = "gomlx_loop_lag_seconds"
    old, new = before.buckets(name), after.buckets(name)
    if not new:
        return None
    grown = {bound: new[bound] - old.get(bound, 0) for bound in sorted(new)}
    most = grown[inf]
    return next(bound for bound, n in grown.items() if n == most) * 1000


def counters(system: System) -> Counters | None:
    return Counters(system.service.get("/metrics").text) if system.service else None


def _waited(pids: Sequence[int]) -> float:
    """Return the seconds that the first threads of processes waited for a core."""
    texts = (Path(f"/proc/{pid}/schedstat").read_text() for pid in pids)
    return sum(int(text.split()[1]) for text in texts) / 1e9 / len(pids)


@dataclass(frozen=True)
class Saturation:
    """How a system is saturated; rows: of each request; cores: that send them."""

    name: str
    connections: int
    cores: Sequence[int]
    rows: int = 1


class Rig:
    """Who sends, for how long, and the rows that were not requested yet.

    repeats: how many disturbed runs may be repeated, so that all of it ends in time.
    """

    def __init__(self, load_cores: Sequence[int], seconds: float) -> None:
        self.load_cores, self.seconds = load_cores, seconds
        self.repeats = 20
        self._next = FIRST + 100_000

    def fresh(self, rows: int) -> int:
        """Return the first of so many new rows."""
        first, self._next = self._next, self._next + rows
        if self._next > LAST:
            raise RuntimeError("all rows have been requested: use fewer runs")
        return first

    def closed(self, system: System, traffic: Traffic, how: "Saturation") -> Run:
        """Saturate a system with wrk."""
        start = -(-self._next // how.rows)
        meter = Meter(system)
        with procfs.on(how.cores):
            load = traffic.at(start)
            seen = wrk.wrk(system.url, load, how.connections, self.seconds)
        cost = meter.read()
        if traffic.hits < 1:
            self.fresh((seen.requests + 10 * how.connections) * how.rows)
        return result(system, how, seen, cost)


def result(system: System, how: Saturation, seen: wrk.Closed, cost: Cost) -> Run:
    return Run(
        how.name,
        system.name,
        how.connections,
        seen.requests,
        seen.failed,
        seen.requests / seen.seconds,
        cost.cpu / seen.requests * 1e6,
        seen.p50,
        seen.p99,
        seen.most,
        cost.waited,
        cost.pss_mb,
        **cost.counted,
    )
