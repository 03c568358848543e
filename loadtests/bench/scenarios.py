"""The scenarios, which show what a service does rather than what it costs."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from loadtests.bench.cells import ROWS
from loadtests.bench.goals import Line, judged
from loadtests.bench.measure import Meter, Rig
from loadtests.bench.overload import Overload, overload
from loadtests.bench.stampede import stampede
from loadtests.bench.swap import swap
from loadtests.load import openloop, procfs, services, wrk
from loadtests.load.latency import latency
from loadtests.load.openloop import Phase
from loadtests.load.services import Models, System
from loadtests.load.traffic import Traffic, Zipf, flights

_RATE = 1000.0
_STREAMS = 100


@dataclass
class Outcome:
    """What a scenario showed. lines: of the goals. figures: all that was measured."""

    figures: dict[str, Any]
    lines: list[Line] = field(default_factory=list)


def of_overload(rig: Rig, system: System, seconds: float) -> Outcome:
    """Load two models, of 0.2 and 2 ms a row, at three times the knee."""
    figures: dict[str, Any] = {}
    lines: list[Line] = []
    for model, what in (("E", "2 ms a row"), ("D", "0.2 ms a row")):
        traffic = Traffic(system.paths[model], ROWS[model], 0.5)
        system.warm(traffic)
        found = overload(rig, system, traffic, seconds)
        figures[what] = found.as_dict()
        lines += _overload_lines(f"Overload, {what}", found)
    figures["lag_ms"] = max(one["lag_ms"] or 0.0 for one in figures.values())
    return Outcome(figures, lines)


def _overload_lines(what: str, found: Overload) -> list[Line]:
    hits = found.hits.p99 / found.quiet.p99
    refused = found.refused.p99 / found.quiet.p99
    answers = found.answers
    return [
        judged(f"{what}: hits' p99 against quiet", hits, 5, "x"),
        judged(f"{what}: hits refused or failed", answers.hits_failed, 0),
        judged(
            f"{what}: share of misses refused by 429",
            answers.misses_refused,
            0.5,
            is_least=True,
        ),
        judged(f"{what}: p99 of a 429, against quiet hits", refused, 5, "x"),
        judged(f"{what}: statuses but 200 and 429", answers.other_statuses, 0),
        judged(f"{what}: growth of memory", found.growth_mb, 8, "MB"),
        judged(f"{what}: recovery", found.recovery_s, 1, "s"),
    ]


def of_stampede(rig: Rig, system: System, _: float) -> Outcome:
    """Have 256 clients request one cold row at once."""
    traffic = Traffic(system.paths["R"], ROWS["R"], 0)
    found = stampede(rig, system, traffic)
    runs = found.rows / found.rounds
    return Outcome(
        asdict(found),
        [
            judged(f"Stampede of {found.clients}: rows that ran, of one", runs, 1),
            judged("Stampede: failures", found.failed, 0),
        ],
    )


def of_traffic(rig: Rig, system: System, seconds: float) -> Outcome:
    """Load with Zipf and churn and, where F is served, with flights in time order."""
    kinds = {
        "Zipf(0.9) over 20,000 rows, 1% churn": Traffic(
            system.paths["R"],
            ROWS["R"],
            recurring=20_000,
            start=rig.fresh(200_000),
            zipf=Zipf(0.9, churn=0.01),
        )
    }
    if "F" in system.paths:
        kinds["flights in the order of time"] = Traffic(
            system.paths["F"], flights(), in_order=True, start=0
        )
    figures: dict[str, Any] = {
        name: _open_loop(rig, system, traffic, min(seconds, 10))
        for name, traffic in kinds.items()
    }
    failed = sum(run["failed"] for run in figures.values())
    figures["lag_ms"] = max(run["lag_ms"] or 0.0 for run in figures.values())
    return Outcome(figures, [judged("Open loop, 1,000/s: failures", failed, 0)])


def _open_loop(
    rig: Rig, system: System, traffic: Traffic, seconds: float
) -> dict[str, Any]:
    meter = Meter(system)
    load = openloop.Load(system.url, traffic, (Phase(seconds, _RATE),))
    samples = openloop.run(load, rig.load_cores)
    cost = meter.read()
    return {
        "rate": _RATE,
        "failed": samples.failed,
        "cpu_us": cost.cpu / len(samples.due) * 1e6,
        "late_p99": samples.lateness_p99,
        **cost.counted,
        "latency": asdict(latency(samples.latency)),
    }


def of_http2(rig: Rig, system: System, _: float) -> Outcome:
    """Load with h2load: one connection, a hundred streams, one recurring row."""
    traffic = Traffic(system.paths["R"], ROWS["R"])
    meter = Meter(system)
    with procfs.on(rig.load_cores):
        load = wrk.h2load(system.url, traffic, _STREAMS, rig.seconds)
    cost = meter.read()
    figures = {
        **load._asdict(),
        "cpu_us": cost.cpu / load.requests * 1e6,
        **cost.counted,
    }
    line = judged(f"HTTP/2, {_STREAMS} streams: failures", load.failed, 0)
    return Outcome(figures, [line])


OF_ONE_SERVICE: Mapping[str, Callable[[Rig, System, float], Outcome]] = {
    "stampede": of_stampede,
    "traffic": of_traffic,
    "overload": of_overload,
    "http2": of_http2,
}


def of_swap(rig: Rig, folder: Path, models: Models) -> Outcome:
    """Replace a model under load, in a service of its own."""
    versions = folder / "versions"
    shutil.copytree(models["R"], versions / "1")
    with services.gomlx(folder / "swap", {"R": versions}) as system:
        traffic = Traffic(system.paths["R"], ROWS["R"], 0.5)
        system.warm(traffic)
        found = swap(rig, system, traffic, versions, models["R2"])
    return Outcome(
        found.as_dict(),
        [
            judged("Swap: versions that answered", found.versions, 2, is_least=True),
            judged("Swap: failures", found.failed, 0),
            judged("Swap: stale answers", found.stale, 0),
            judged("Swap: answers labelled with the wrong version", found.torn, 0),
        ],
    )
