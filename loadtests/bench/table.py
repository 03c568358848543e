"""The whole table: starts everything, measures in rounds, judges by the goals."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console

from loadtests.bench import cells, machine, scenarios
from loadtests.bench.goals import GOALS, Line, Runs, judged
from loadtests.bench.measure import Rig
from loadtests.bench.scenarios import Outcome
from loadtests.load import procfs, ranking, services, wrk

_PEERS = ("nginx", "FastAPI", "FastAPI + Redis", "Falcon")
_OVERLOAD_SECONDS = 30
_QUICK_OVERLOAD_SECONDS = 5
console = Console(highlight=False, soft_wrap=True, log_path=False)


@dataclass(frozen=True)
class Workplace:
    """The folder of built models. model_s: a SavedModel for S instead of ours."""

    work: Path
    model_s: Path | None

    @contextmanager
    def opened(self, only: str = "") -> Iterator[tuple[Path, services.Models]]:
        """Yield a temporary folder and the models. only: the names of those wanted."""
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
    """Measure everything; return what loadtests/results/table.json holds."""
    left_out = services.unavailable()
    for name, why in left_out.items():
        console.print(f"left out: {name}: {why}")
    rig = Rig(load_cores(), seconds)
    peers = [peer for peer in _PEERS if peer not in left_out]
    measured: list[Runs] = []
    with workplace.opened() as (folder, models):
        console.log("starting", *peers, "and gomlx, twice …")
        with cells.started(folder, models, peers) as systems:
            for runs in cells.rounds(rig, systems, cells.cells(quick), rounds):
                measured.append(runs)
                console.log(f"round {len(measured)} of {rounds}")
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
        "goals": _lines(measured, outcomes),
        "runs": [run.as_dict() for runs in measured for run in runs.values()],
        "scenarios": {name: outcome.figures for name, outcome in outcomes.items()},
    }


def beside(
    rig: Rig,
    folder: Path,
    models: services.Models,
    commands: Mapping[str, str],
    rounds: int,
) -> Iterator[tuple[str, Sequence[float]]]:
    """Measure gomlx, nginx and other servers in turns, by name.

    Yields the medians of each cell: CPU in multiples of nginx's, in us, the latencies
    in ms and the rate.
    """
    with ExitStack() as stack:
        systems = [
            stack.enter_context(services.gomlx(folder / "gomlx", models)),
            stack.enter_context(services.nginx(folder / "nginx")),
        ]
        for name, command in commands.items():
            other = services.other(name, command, folder / name, models)
            systems.append(stack.enter_context(other))
        wanted = cells.beside([*commands], [*models])
        measured = list(cells.rounds(rig, systems, wanted, rounds))
    for cell in wanted:
        runs = [(one[cell.name], one["nginx S hit 16"].cpu_us) for one in measured]
        yield (
            cell.name,
            [
                median(run.cpu_us / nginx for run, nginx in runs),
                median(run.cpu_us for run, _ in runs),
                median(run.load.p50 for run, _ in runs),
                median(run.load.p99 for run, _ in runs),
                median(run.rate for run, _ in runs),
            ],
        )


def load_cores() -> list[int]:
    """Return the cores that send: the second one, or all where there is one."""
    found = procfs.cores()
    if len(found) < 2:
        console.print("one core only: the load shares it with the server")
    return found[1:2] or found


def _scenarios(rig: Rig, system: services.System, quick: bool) -> dict[str, Outcome]:
    seconds = _QUICK_OVERLOAD_SECONDS if quick else _OVERLOAD_SECONDS
    found = {}
    for name, scenario in scenarios.OF_ONE_SERVICE.items():
        if name == "http2" and (problem := wrk.missing("h2load")):
            console.print(f"left out: {problem}")
            continue
        console.log(name)
        found[name] = scenario(rig, system, seconds)
    return found


def _lines(rounds: Sequence[Runs], outcomes: Mapping[str, Outcome]) -> list[Line]:
    """Return the lines of the goals, of the scenarios, of failures and of the lag."""
    lines = [line for goal in GOALS if (line := goal.judge(rounds))]
    lines += [line for outcome in outcomes.values() for line in outcome.lines]
    failed = sum(run.load.failed for runs in rounds for run in runs.values())
    return [*lines, judged("Failures in all runs", failed, 0), _lag(rounds, outcomes)]


def _lag(rounds: Sequence[Runs], outcomes: Mapping[str, Outcome]) -> Line:
    """Return the line of the longest lag of the event loop, in all runs."""
    lags = [(run.cost.lag_ms, name) for runs in rounds for name, run in runs.items()]
    lags += [(one.figures.get("lag_ms"), name) for name, one in outcomes.items()]
    longest, where = max((lag, name) for lag, name in lags if lag is not None)
    return judged(f"Longest event-loop delay (during {where})", longest, 20, "ms")
