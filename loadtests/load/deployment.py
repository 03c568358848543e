"""Commands that load any deployment: open and closed loops over rows of a model."""

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from gomlx.cli.sample_rows import SampleRows
from gomlx.cli.terminal import errors_reported
from gomlx.client.client import Client
from loadtests.load import openloop, procfs, wrk
from loadtests.load.latency import latency
from loadtests.load.openloop import Phase
from loadtests.load.samples import Samples
from loadtests.load.traffic import Rows, Traffic, Zipf

console = Console(highlight=False, soft_wrap=True)
_CHUNK = 1000


class Order(StrEnum):
    """The order in which rows are requested."""

    uniform = "uniform"  # one row after the other
    zipf = "zipf"


class Program(StrEnum):
    """The program that runs a closed loop."""

    wrk = "wrk"
    h2load = "h2load"


Url = Annotated[str, typer.Argument(help="URL of a service: http://host:port")]
Model = Annotated[str, typer.Argument(help="The id of a model.")]
File = Annotated[
    Path | None,
    typer.Option(
        "--rows",
        help="JSON lines, one row each. Without: rows are made up from the dictionary.",
    ),
]
Distinct = Annotated[int, typer.Option(min=1, help="Number of distinct rows.")]
Seconds = Annotated[float, typer.Option(min=1, help="How long to send.")]
Connections = Annotated[int, typer.Option(min=1, help="Number of open connections.")]
Pids = Annotated[
    list[int] | None,
    typer.Option("--pid", help="Workers on this machine: shows CPU per request."),
]
Rate = Annotated[float, typer.Option(min=1, help="Requests per second.")]
RowOrder = Annotated[Order, typer.Option(help="The order of the rows.")]
Exponent = Annotated[float, typer.Option(help="Exponent of Zipf's law.")]
Churn = Annotated[
    float, typer.Option(help="Share of requests after which a row is replaced.")
]
ClosedBy = Annotated[
    Program,
    typer.Option(help="h2load: one connection, this many streams, one row."),
]


def open_loop(  # noqa: PLR0913, PLR0917  # a command's arguments are its options
    url: Url,
    model: Model,
    rate: Rate = 1000,
    seconds: Seconds = 10,
    connections: Connections = 64,
    rows: File = None,
    distinct: Distinct = 10_000,
    order: RowOrder = Order.zipf,
    exponent: Exponent = 0.9,
    churn: Churn = 0.001,
    pids: Pids = None,
) -> None:
    """Load a deployment at a rate; latency counts from the intended send time.

    `python -m loadtests open http://127.0.0.1:8080 flights --rate 2000`

    Arrivals are Poisson and do not wait for responses. Exits with 1 when requests fail.
    """
    is_zipf = order == Order.zipf and exponent
    traffic = Traffic(
        f"/v1/api/model/{model}/eval",
        _rows(url, model, rows, distinct),
        recurring=distinct // 2 or 1,  # churn brings the others
        start=0,
        zipf=Zipf(exponent, churn) if is_zipf else None,
        in_order=order == Order.uniform,
    )
    load = openloop.Load(url, traffic, (Phase(seconds, rate),), connections)
    before = procfs.cpu_seconds(pids or [])
    samples = openloop.run(load, procfs.cores()[-1:])
    cpu = procfs.cpu_seconds(pids or []) - before
    _show(_figures(samples), len(samples.due), cpu)
    if samples.failed:
        raise typer.Exit(1)


def _figures(samples: Samples) -> dict[str, Any]:
    figures: dict[str, Any] = asdict(latency(samples.latency))
    del figures["encoded"]
    statuses = Counter(samples.status)
    figures |= {f"status {status or 'lost'}": n for status, n in statuses.items()}
    figures["unanswered"] = samples.unanswered
    figures["generator late, longest"] = float(samples.lateness.max() * 1000)
    return figures


def closed_loop(  # noqa: PLR0913, PLR0917  # a command's arguments are its options
    url: Url,
    model: Model,
    seconds: Seconds = 5,
    connections: Connections = 16,
    program: ClosedBy = Program.wrk,
    rows: File = None,
    distinct: Distinct = 1000,
    pids: Pids = None,
) -> None:
    """Load a deployment as fast as it responds, by wrk or h2load.

    `python -m loadtests closed http://127.0.0.1:8080 flights --connections 64`

    Exits with 1 when requests fail.
    """
    if problem := wrk.missing(program):
        raise typer.BadParameter(f"needs {problem}")
    found = _rows(url, model, rows, distinct)
    path = f"/v1/api/model/{model}/eval"
    traffic = Traffic(path, found, recurring=len(found.fixed), first=0, start=0)
    before = procfs.cpu_seconds(pids or [])
    run = wrk.h2load if program == Program.h2load else wrk.wrk
    measured = run(url, traffic, connections, seconds)
    cpu = procfs.cpu_seconds(pids or []) - before
    figures = measured._asdict() | {"rate": measured.requests / measured.seconds}
    _show(figures, measured.requests, cpu)
    if measured.failed:
        raise typer.Exit(1)


def _rows(url: str, model: str, file: Path | None, distinct: int) -> Rows:
    """Read rows from a file; without one, make them up by the service's contract."""
    if file:
        return Rows(fixed=tuple(file.read_bytes().splitlines()[:distinct]))
    with errors_reported(), Client(model, url) as client:
        contract = client.contract
        assert contract is not None
    samples = SampleRows(contract, random.Random(1))
    found: dict[bytes, None] = {}
    for text in _made_up(samples):
        found[text] = None
        if len(found) >= distinct:
            break
    return Rows(fixed=tuple(found))


def _made_up(samples: SampleRows) -> Iterator[bytes]:
    """Yield rows until a whole chunk of them has brought nothing new."""
    found = set[bytes]()
    is_new = True
    while is_new:
        texts = {*_texts(samples.columns(_CHUNK))}
        is_new = not texts <= found
        found |= texts
        yield from texts


def _texts(columns: Mapping[str, Sequence[Any]]) -> Iterator[bytes]:
    for row in zip(*columns.values(), strict=True):
        yield orjson.dumps(dict(zip(columns, row, strict=True)))


def _show(figures: dict[str, Any], requests: int, cpu: float) -> None:
    """Print figures. cpu: seconds of all processes; 0: not measured."""
    if cpu:
        figures["CPU, us per request"] = cpu / requests * 1e6
    shown = Table("in ms, unless named otherwise", "")
    for name, value in figures.items():
        is_whole = isinstance(value, int)
        shown.add_row(name, f"{value:,}" if is_whole else f"{value:,.4g}")
    console.print(shown)
