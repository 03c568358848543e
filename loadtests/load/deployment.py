"""Commands that load any deployment: open and closed loops over a model's rows."""

import random
from collections import Counter
from collections.abc import Iterator
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
from loadtests.load.traffic import Rows, Traffic

console = Console(highlight=False, soft_wrap=True)
_CHUNK = 1000
Url = Annotated[str, typer.Argument(help="Of a service: http://host:port")]
Model = Annotated[str, typer.Argument(help="The id of a model.")]
File = Annotated[
    Path | None,
    typer.Option(
        "--rows", help="JSON lines, a row each. Without: from its dictionary."
    ),
]
Distinct = Annotated[int, typer.Option(min=1, help="How many distinct rows there are.")]
Seconds = Annotated[float, typer.Option(min=1, help="How long to send.")]
Connections = Annotated[int, typer.Option(min=1, help="Kept open.")]
Pids = Annotated[
    list[int] | None,
    typer.Option("--pid", help="Workers on this machine: shows CPU a request."),
]


class Order(StrEnum):
    uniform = "uniform"  # one row after the other
    zipf = "zipf"


class Program(StrEnum):
    wrk = "wrk"
    h2load = "h2load"


def open_loop(  # noqa: PLR0913, PLR0917  # a command's arguments are its options
    url: Url,
    model: Model,
    rate: Annotated[float, typer.Option(min=1, help="Requests a second.")] = 1000,
    seconds: Seconds = 10,
    connections: Connections = 64,
    rows: File = None,
    distinct: Distinct = 10_000,
    order: Annotated[Order, typer.Option(help="Which rows come how often.")] = (
        Order.zipf
    ),
    exponent: Annotated[float, typer.Option(help="Of Zipf's law.")] = 0.9,
    churn: Annotated[
        float, typer.Option(help="Share of requests after which a row is replaced.")
    ] = 0.001,
    pids: Pids = None,
) -> None:
    """Load a deployment at a rate; latency counts from the intended send time.

    `python -m loadtests open http://127.0.0.1:8080 flights --rate 2000`

    Arrivals are Poisson and do not wait for answers. Exits with 1 when requests failed.
    """
    traffic = Traffic(
        f"/v1/api/model/{model}/eval",
        _rows(url, model, rows, distinct),
        known=distinct // 2 or 1,  # the others are to come
        start=0,
        exponent=exponent if order == Order.zipf else 0,
        churn=churn,
        in_order=order == Order.uniform,
    )
    load = openloop.Load(url, traffic, (Phase(seconds, rate),), connections)
    before = procfs.cpu_seconds(pids or [])
    samples = openloop.run(load, procfs.cores()[-1:])
    cpu = procfs.cpu_seconds(pids or []) - before
    figures: dict[str, Any] = asdict(latency(samples.took))
    del figures["encoded"]
    figures |= {f"status {s or 'lost'}": n for s, n in Counter(samples.status).items()}
    figures["unanswered"] = samples.unanswered
    figures["generator late, longest"] = float(samples.late.max() * 1000)
    _show(figures, len(samples.due), cpu)
    if samples.unanswered or (samples.status != 200).any():
        raise typer.Exit(1)


def closed_loop(  # noqa: PLR0913, PLR0917  # a command's arguments are its options
    url: Url,
    model: Model,
    seconds: Seconds = 5,
    connections: Connections = 16,
    program: Annotated[
        Program, typer.Option(help="h2load: one connection, so many streams, one row.")
    ] = Program.wrk,
    rows: File = None,
    distinct: Distinct = 1000,
    pids: Pids = None,
) -> None:
    """Load a deployment as fast as it answers, by wrk or h2load.

    `python -m loadtests closed http://127.0.0.1:8080 flights --connections 64`

    Exits with 1 when requests failed.
    """
    if problem := wrk.missing(program):
        raise typer.BadParameter(f"needs {problem}")
    found = _rows(url, model, rows, distinct)
    path = f"/v1/api/model/{model}/eval"
    traffic = Traffic(path, found, known=len(found.fixed), first=0, start=0)
    before = procfs.cpu_seconds(pids or [])
    run = wrk.h2load if program == Program.h2load else wrk.wrk
    seen = run(url, traffic, connections, seconds)
    cpu = procfs.cpu_seconds(pids or []) - before
    figures = seen._asdict() | {"rate": seen.requests / seen.seconds}
    _show(figures, seen.requests, cpu)
    if seen.failed:
        raise typer.Exit(1)


def _rows(url: str, model: str, file: Path | None, distinct: int) -> Rows:
    if file:
        return Rows(fixed=tuple(file.read_bytes().splitlines()[:distinct]))
    with errors_reported(), Client(model, url) as client:
        contract = client.contract
        assert contract is not None
    made = SampleRows(contract, random.Random(1))
    found: dict[bytes, None] = {}
    for text in _made_up(made):
        found[text] = None
        if len(found) >= distinct:
            break
    return Rows(fixed=tuple(found))


def _made_up(made: SampleRows) -> Iterator[bytes]:
    """Yield rows until a whole chunk of them has brought nothing new."""
    seen, new = set[bytes](), 1
    while new:
        columns = made.columns(_CHUNK)
        rows = zip(*columns.values(), strict=True)
        texts = {orjson.dumps(dict(zip(columns, row, strict=True))) for row in rows}
        new = len(texts - seen)
        seen |= texts
        yield from texts


def _show(figures: dict[str, Any], requests: int, cpu: float) -> None:
    if cpu:
        figures["CPU, us a request"] = cpu / requests * 1e6
    shown = Table("ms, where nothing is said", "")
    for name, value in figures.items():
        is_whole = isinstance(value, int)
        shown.add_row(name, f"{value:,}" if is_whole else f"{value:,.4g}")
    console.print(shown)
