"""What features that look at each request cost hits, beside a service without them.

    python -m loadtests.features

All services are there at once, each with one worker on the first core, and are loaded
in turns. The CPU is that of all threads of a worker. Two services without any feature
show the noise of the run: only a larger difference counts.
"""

import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import typer

from loadtests.bench import machine
from loadtests.bench.table import load_cores
from loadtests.load import procfs, ranking, wrk
from loadtests.load.traffic import FIRST, strings
from tests.support.service import running

_RESULTS = Path(__file__).parent / "results" / "features.md"
_PATH = "/v1/api/model/S/eval"
_TOKEN = "token-of-a-client-that-measures"
_ROWS = 1000
_HEADS = 4000  # different ones: more than a worker keeps
_GOAL = 0.03
_SAMPLE = 0.01
_HEAD = "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

Costs = Mapping[str, list[float]]  # us CPU a hit, by feature; a value a round


@dataclass(frozen=True)
class Feature:
    """What is measured. service: which one it is of.

    lines: those of the n-th request's head that have to do with it.
    """

    name: str
    service: str
    lines: Callable[[int], str] = lambda n: ""


PLAIN = Feature("no feature", "plain")
AGAIN = Feature("no feature, again", "again")
FEATURES = (
    Feature("a token (`endpoint.auth`)", "auth", lambda n: _line("Authorization")),
    Feature("the access log, 1 % of requests", "access"),
    Feature("the log of rows, 1 % of rows", "rows"),
    Feature("an unsampled `traceparent`", "traced", lambda n: _line("traceparent")),
    Feature("`X-Request-Id`, a UUID", "plain", lambda n: _line("X-Request-Id")),
    Feature(
        "`X-Request-Id`, 32 digits", "again", lambda n: _line("X-Request-Id", False)
    ),
)


def _line(name: str, has_dashes: bool = True) -> str:
    one = uuid.uuid4()
    values = {
        "Authorization": f"Bearer {_TOKEN}",
        "traceparent": f"00-{one.hex}-{one.hex[:16]}-00",
        "X-Request-Id": str(one) if has_dashes else one.hex,
    }
    return f"{name}: {values[name]}\r\n"


@dataclass(frozen=True)
class Loaded:
    """A running service. pid: of its worker. requests: by feature."""

    url: str
    pid: int
    requests: dict[str, list[bytes]] = field(default_factory=dict)

    def cost(self, feature: Feature, connections: int, seconds: float) -> float:
        """Return the CPU of a hit, in us. Raises RuntimeError for one that failed."""
        before = _cpu_ns(self.pid)
        with procfs.on(load_cores()):
            requests = self.requests[feature.name]
            run = wrk.in_turn(self.url, requests, connections, seconds)
        if run.failed:
            raise RuntimeError(f"{feature.name}: {run.failed} requests failed")
        return (_cpu_ns(self.pid) - before) / 1000 / run.requests


def _cpu_ns(pid: int) -> int:
    """Return the CPU time of the threads of a process, in ns."""
    tasks = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks)


def requests_of(feature: Feature) -> list[bytes]:
    """Return requests for the same rows again and again, each with another head."""
    rows = strings()
    found = []
    for n in range(_HEADS):
        body = rows.body(FIRST + n % _ROWS)
        head = f"{_HEAD % _PATH}{feature.lines(n)}Content-Length: {len(body)}\r\n\r\n"
        found.append(head.encode() + body)
    return found


def _changes(name: str, folder: Path) -> dict[str, Any]:
    """Return what a service has beside the others."""
    log = {"to": str(folder / "log.jsonl"), "sample": _SAMPLE}
    match name:
        case "auth":
            (folder / "tokens").write_text(f"{_TOKEN}\n")
            (folder / "tokens").chmod(0o600)
            clients = [{"name": "load", "token_file": str(folder / "tokens")}]
            # Whether the service is ready, its own listener tells.
            auth = {"auth": {"clients": clients}, "admin": {"port": 0}}
            return {"endpoint": {"workers": 1, **auth}}
        case "access":
            return {"access_log": log}
        case "traced":  # by nothing that listens: no request is recorded
            return {"tracing": {"endpoint": "http://127.0.0.1:9"}}
    return {}


@contextmanager
def _started(name: str, folder: Path, model: Path) -> Iterator[Loaded]:
    folder.mkdir()
    inputs = [{"name": name, "wildcard": True} for name in ("sa", "sl")]
    served: dict[str, Any] = {"id": "S", "url": str(model), "datastore": "answers"}
    served["inputs"] = inputs
    if name == "rows":
        log = {"to": str(folder / "rows.jsonl"), "sample": _SAMPLE, "fields": "all"}
        served["log"] = log
    config: dict[str, Any] = {
        "endpoint": {"workers": 1},
        "models": [served],
        "datastores": [{"id": "answers", "memory_mb": 64}],
        **_changes(name, folder),
    }
    with running(folder, config) as service:
        (pid,) = service.worker_pids()
        procfs.pin(pid, procfs.cores()[:1])
        yield Loaded(service.url, pid)


@contextmanager
def started(folder: Path, model: Path) -> Iterator[dict[str, Loaded]]:
    """Start all services, and have the rows of all requests cached."""
    every = (PLAIN, AGAIN, *FEATURES)
    names = list(dict.fromkeys(one.service for one in every))
    with ExitStack() as stack, ThreadPoolExecutor() as pool:
        managers = [_started(name, folder / name, model) for name in names]
        systems = pool.map(stack.enter_context, managers)
        found = dict(zip(names, systems, strict=True))
        for one in every:
            loaded = found[one.service]
            loaded.requests[one.name] = requests_of(one)
            loaded.cost(one, 1, 1)
        yield found


def measure(
    systems: Mapping[str, Loaded], connections: int, rounds: int, seconds: float
) -> Costs:
    """Return the cost of hits. Each round begins with another feature."""
    every = (PLAIN, *FEATURES[:3], AGAIN, *FEATURES[3:])
    costs: dict[str, list[float]] = {one.name: [] for one in every}
    for n in range(rounds):
        first = n % len(every)
        for one in (*every[first:], *every[:first]):
            cost = systems[one.service].cost(one, connections, seconds)
            costs[one.name].append(cost)
    return costs


def more(costs: Costs, name: str) -> tuple[float, float, float]:
    """Return which share more a hit costs: the median, least and most of all rounds.

    Beside the mean of the two services without a feature.
    """
    pairs = zip(costs[PLAIN.name], costs[AGAIN.name], strict=True)
    without = [(one + other) / 2 for one, other in pairs]
    if name == AGAIN.name:
        without = costs[PLAIN.name]
    ratios = [a / b - 1 for a, b in zip(costs[name], without, strict=True)]
    return median(ratios), min(ratios), max(ratios)


def report(found: Mapping[int, Costs], rounds: int, seconds: float) -> str:
    """Return the page of results. found: the costs by connections."""
    about = machine.describe()
    lines = [
        "# What features cost a hit",
        "",
        f"`python -m loadtests.features`, {rounds} rounds of {seconds:g} s each; "
        f"{about['cores']} cores, Python {about['Python']}. One worker on the first "
        "core, wrk on the second; more CPU than without any feature: the median of the "
        f"rounds, and the least and the most. The goal is {_GOAL:.0%} at most; the "
        "first line shows the noise.",
        "",
        "| | connections | µs CPU a hit | more | least | most | |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for connections, costs in found.items():
        lines.append(f"| no feature | {connections} | {_us(costs, PLAIN)} | | | | |")
        for one in (AGAIN, *FEATURES):
            middle, least, most = more(costs, one.name)
            verdict = "" if one is AGAIN else ("met" if middle <= _GOAL else "missed")
            shown = f"{middle:+.1%} | {least:+.1%} | {most:+.1%} | {verdict}"
            lines.append(
                f"| {one.name} | {connections} | {_us(costs, one)} | {shown} |"
            )
    return "\n".join([*lines, ""])


def _us(costs: Costs, feature: Feature) -> str:
    return f"{median(costs[feature.name]):.2f}"


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 5,
    seconds: Annotated[int, typer.Option(min=1, help="Length of a run.")] = 1,
    work: Annotated[Path, typer.Option(help="Folder of models.")] = Path(".loadtests"),
    save: Annotated[bool, typer.Option(help="Write loadtests/results.")] = True,
) -> None:
    """Compare the CPU of hits with and without each feature, in under two minutes."""
    model = ranking.build(work.resolve())["S"]
    with (
        tempfile.TemporaryDirectory(prefix="gomlx-") as folder,
        started(Path(folder), model) as systems,
    ):
        found = {n: measure(systems, n, rounds, seconds) for n in (16, 64)}
    text = report(found, rounds, seconds)
    if save:
        _RESULTS.write_text(text)
    typer.echo(text)


if __name__ == "__main__":
    typer.run(main)
