"""What happens rather than what it costs: each scenario, and what it has to show."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loadtests.bench.goals import judged
from loadtests.bench.measure import Meter, Rig
from loadtests.bench.overload import Overload, overload
from loadtests.bench.stampede import stampede
from loadtests.bench.swap import swap
from loadtests.bench.table import ROWS
from loadtests.load import openloop, procfs, services, wrk
from loadtests.load.latency import latency
from loadtests.load.openloop import Phase
from loadtests.load.services import Models, System
from loadtests.load.traffic import Traffic, flights

Line = dict[str, Any]
_RATE = 1000.0
_STREAMS = 100


@dataclass
class Outcome:
    """figures: all that was seen; lines: goals, and whether they are met."""

    figures: dict[str, Any]
    lines: list[Line] = field(default_factory=list)


def of_overload(rig: Rig, system: System, seconds: float) -> Outcome:
    """Three times the knee, half of it hits, of two models: 0.2 and 2 ms a row."""
    figures: dict[str, Any] = {}
    lines: list[Line] = []
    for model, what in (("E", "2 ms a row"), ("D", "0.2 ms a row")):
        traffic = Traffic(system.paths[model], ROWS[model], 0.5)
        system.warm(traffic)
        seen = overload(rig, system, traffic, seconds)
        figures[what] = asdict(seen)
        lines += _overload_lines(f"Overload, {what}", seen)
    figures["lag_ms"] = max(one["lag_ms"] or 0.0 for one in figures.values())
    return Outcome(figures, lines)


def _overload_lines(what: str, seen: Overload) -> list[Line]:
    hits = seen.hits_p99 / seen.quiet_p99
    refused = seen.refused_p99 / seen.quiet_p99
    return [
        judged(f"{what}: hits' p99 against quiet", hits, 5, "x"),
        judged(f"{what}: hits refused or failed", seen.hits_failed, 0),
        judged(
            f"{what}: share of misses refused by 429",
            seen.misses_refused,
            0.5,
            "",
            True,
        ),
        judged(f"{what}: p99 of a 429, against quiet hits", refused, 5, "x"),
        judged(f"{what}: statuses but 200 and 429", seen.other_statuses, 0),
        judged(f"{what}: growth of memory", seen.growth_mb, 8, "MB"),
        judged(f"{what}: recovery", seen.recovery_s, 1, "s"),
    ]


def of_stampede(rig: Rig, system: System, _: float) -> Outcome:
    """256 clients request one cold row at once."""
    traffic = Traffic(system.paths["R"], ROWS["R"], 0)
    seen = stampede(rig, system, traffic)
    runs = seen.rows / seen.rounds
    return Outcome(
        asdict(seen),
        [
            judged(f"Stampede of {seen.clients}: rows that ran, of one", runs, 1),
            judged("Stampede: failures", seen.failed, 0),
        ],
    )


def of_traffic(rig: Rig, system: System, seconds: float) -> Outcome:
    """Zipf with churn and, where the model is served, flights in time order."""
    path = system.paths["R"]
    start = rig.fresh(200_000)
    kinds = {
        "Zipf(0.9) over 20,000 rows, 1% churn": Traffic(
            path, ROWS["R"], known=20_000, start=start, exponent=0.9, churn=0.01
        )
    }
    if "F" in system.paths:
        kinds["flights in the order of time"] = Traffic(
            system.paths["F"], flights(), in_order=True, start=0
        )
    figures: dict[str, Any] = {}
    for name, traffic in kinds.items():
        meter = Meter(system)
        load = openloop.Load(system.url, traffic, (Phase(min(seconds, 10), _RATE),))
        samples = openloop.run(load, rig.load_cores)
        cost = meter.read()
        figures[name] = {
            "rate": _RATE,
            "failed": int((samples.status != 200).sum()) + samples.unanswered,
            "cpu_us": cost.cpu / len(samples.due) * 1e6,
            "late_p99": float(np.quantile(samples.late, 0.99) * 1000),
            **cost.counted,
            "latency": asdict(latency(samples.took)),
        }
    failed = sum(run["failed"] for run in figures.values())
    figures["lag_ms"] = max(run["lag_ms"] or 0.0 for run in figures.values())
    return Outcome(figures, [judged("Open loop, 1,000/s: failures", failed, 0)])


def of_http2(rig: Rig, system: System, _: float) -> Outcome:
    """h2load: one connection, a hundred streams, one known row."""
    traffic = Traffic(system.paths["R"], ROWS["R"])
    meter = Meter(system)
    with procfs.on(rig.load_cores):
        seen = wrk.h2load(system.url, traffic, _STREAMS, rig.seconds)
    cost = meter.read()
    figures = {
        **seen._asdict(),
        "cpu_us": cost.cpu / seen.requests * 1e6,
        **cost.counted,
    }
    line = judged(f"HTTP/2, {_STREAMS} streams: failures", seen.failed, 0)
    return Outcome(figures, [line])


OF_ONE_SERVICE: Mapping[str, Callable[[Rig, System, float], Outcome]] = {
    "stampede": of_stampede,
    "traffic": of_traffic,
    "overload": of_overload,
    "http2": of_http2,
}


def of_swap(rig: Rig, folder: Path, models: Models) -> Outcome:
    """A model is replaced under load; on a service of its own."""
    versions = folder / "versions"
    shutil.copytree(models["R"], versions / "1")
    with services.gomlx(folder / "swap", {"R": versions}) as system:
        traffic = Traffic(system.paths["R"], ROWS["R"], 0.5)
        system.warm(traffic)
        seen = swap(rig, system, traffic, versions, models["R2"])
    return Outcome(
        asdict(seen),
        [
            judged("Swap: versions that answered", seen.versions, 2, "", True),
            judged("Swap: failures", seen.failed, 0),
            judged("Swap: stale answers", seen.stale, 0),
            judged("Swap: answers labelled with the wrong version", seen.torn, 0),
        ],
    )
