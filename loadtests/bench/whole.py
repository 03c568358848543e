"""The whole table: starts everything, measures it in turns, judges it."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from loadtests.bench import machine, scenarios, table
from loadtests.bench.goals import GOALS, judged
from loadtests.bench.measure import Rig, Run
from loadtests.bench.scenarios import Outcome
from loadtests.load import procfs, ranking, services, wrk

_PEERS = ("nginx", "FastAPI", "FastAPI + Redis", "Falcon")
_QUICK_SECONDS, _OVERLOAD_SECONDS = 5, 30
console = Console(highlight=False, soft_wrap=True, log_path=False)


@dataclass(frozen=True)
class Workplace:
    """Where models are kept; model_s: a SavedModel for S instead of our own."""

    work: Path
    model_s: Path | None

    @contextmanager
    def opened(self, only: str = "") -> Iterator[tuple[Path, services.Models]]:
        """A folder for this run, and the models; only: these letters' models."""
        self.work.mkdir(parents=True, exist_ok=True)
        models = dict(ranking.build(self.work.resolve()))
        if self.model_s:
            models["S"] = self.model_s.resolve()
        models = {n: path for n, path in models.items() if not only or n in only}
        with tempfile.TemporaryDirectory(prefix="gomlx-load-") as folder:
            yield Path(folder), models


def measure(
    workplace: Workplace, quick: bool, rounds: int, seconds: float
) -> dict[str, Any]:
    """Return the results of everything: what loadtests/results/table.json holds."""
    left_out = services.unavailable()
    for name, why in left_out.items():
        console.print(f"left out: {name}: {why}")
    rig = Rig(load_cores(), seconds)
    peers = [peer for peer in _PEERS if peer not in left_out]
    runs: list[Mapping[str, Run]] = []
    with workplace.opened() as (folder, models):
        console.log("starting", *peers, "and gomlx, twice …")
        with table.started(folder, models, peers) as systems:
            for one in table.rounds(rig, systems, table.cells(quick), rounds):
                runs.append(one)
                console.log(f"round {len(runs)} of {rounds}")
            outcomes = _scenarios(rig, systems[0], quick)
        console.log("swap")
        outcomes["swap"] = scenarios.of_swap(rig, folder, models)
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "commit": machine.commit(),
        "machine": machine.describe(),
        "rounds": rounds,
        "seconds": seconds,
        "left_out": left_out,
        "goals": _lines(runs, outcomes),
        "runs": [asdict(run) for one in runs for run in one.values()],
        "scenarios": {name: outcome.figures for name, outcome in outcomes.items()},
    }


def load_cores() -> list[int]:
    """Return the cores that send: the second, or what there is."""
    found = procfs.cores()
    if len(found) < 2:
        console.print("one core only: the load shares it with the server")
    return found[1:2] or found


def _scenarios(rig: Rig, system: services.System, quick: bool) -> dict[str, Outcome]:
    seconds = _QUICK_SECONDS if quick else _OVERLOAD_SECONDS
    found = {}
    for name, scenario in scenarios.OF_ONE_SERVICE.items():
        if name == "http2" and (problem := wrk.missing("h2load")):
            console.print(f"left out: {problem}")
            continue
        console.log(name)
        found[name] = scenario(rig, system, seconds)
    return found


def _lines(
    runs: Sequence[Mapping[str, Run]], outcomes: Mapping[str, Outcome]
) -> list[dict[str, Any]]:
    """Return the goals, those of the scenarios, and that of the watchdog."""
    lines = [line for goal in GOALS if (line := goal.judge(runs))]
    lines += [line for outcome in outcomes.values() for line in outcome.lines]
    failed = sum(run.failed for one in runs for run in one.values())
    lines.append(judged("Failures in all runs", failed, 0))
    lags = {name: run.lag_ms for one in runs for name, run in one.items()}
    lags |= {name: outcome.figures.get("lag_ms") for name, outcome in outcomes.items()}
    longest = max((lag, name) for name, lag in lags.items() if lag is not None)
    what = f"Longest event-loop delay (during {longest[1]})"
    return [*lines, judged(what, longest[0], 20, "ms")]
