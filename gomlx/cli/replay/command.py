"""The command `gomlx replay`."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from gomlx.cli.bench import AsJson
from gomlx.cli.client_options import HostUrls, OptionPairs, client_options, host_urls
from gomlx.cli.files.run import progress_bar
from gomlx.cli.replay.log_lines import LineCount, rows_in
from gomlx.cli.replay.result import ReplayResult
from gomlx.cli.replay.run import Replay, ReplayPace
from gomlx.cli.terminal import FAILED, errors_reported, output, usage_error
from gomlx.client.async_client import AsyncClient

HELP = """
Send the rows of a log to a service again, and compare its answers with the log's.

The files are those that `log` of a model writes, of all workers; rows are sent in the
order of their times. In the time in which they came, and as fast as they are answered:

    gomlx replay logs/flights.*.jsonl* --host http://a:8080
    gomlx replay logs/flights.0.jsonl --host http://canary:8080 --speed max --json

Only what was logged is compared. A model that needs inputs which `log.fields` does not
have refuses the rows. The environment variable GOMLX_HOST can replace --host.

Exit codes: 0 all answers are equal, or close by --tolerance, 1 some are different or
missing, 2 wrong arguments.
"""
Files = Annotated[
    list[Path],
    typer.Argument(metavar="FILE…", help="Logs of rows.", exists=True, dir_okay=False),
]
OnlyModel = Annotated[
    str | None, typer.Option("--model", help="Only rows of this model.")
]
Speed = Annotated[
    str,
    typer.Option(help="How many times as fast as the rows came; max: without waits."),
]
RowsUnderWay = Annotated[
    int, typer.Option(min=1, help="The most rows under way at a time.")
]
Tolerance = Annotated[
    float,
    typer.Option(min=0, help="Of numbers: relative, and absolute below 1."),
]
RowTimeout = Annotated[
    float, typer.Option(help="The longest a request takes, in seconds.")
]


def replay(
    files: Files,
    host: HostUrls,
    model: OnlyModel = None,
    speed: Speed = "1",
    concurrency: RowsUnderWay = 32,
    tolerance: Tolerance = 1e-6,
    timeout: RowTimeout = 30.0,
    settings: OptionPairs = None,
    as_json: AsJson = False,
) -> None:
    """Send logged rows again, and compare; HELP has the rest."""
    options = client_options(settings, timeout_seconds=timeout)
    # The service is to answer, not this process; a refused row is sent again.
    options = replace(options, ttl_seconds=0.0, negative_seconds=0.0)
    hosts = host_urls(host)
    pace = ReplayPace(_speed(speed), concurrency)
    count = LineCount()

    def connect(name: str, signature: str | None) -> AsyncClient:
        return AsyncClient(name, hosts, options=options, signature=signature)

    with errors_reported(), progress_bar() as bar:
        task = bar.add_task("", total=sum(one.stat().st_size for one in files), rows=0)
        sending = Replay(
            connect,
            pace,
            tolerance,
            lambda rows: bar.update(task, completed=count.read_bytes, rows=rows),
        )
        rows = rows_in(files, count)
        wanted = (one for one in rows if model in (None, one.model))
        result = asyncio.run(sending.run(wanted))
    result.others = count.others
    _report(result, as_json)


def _report(result: ReplayResult, as_json: bool) -> None:
    if not result.rows:
        raise usage_error(
            "there are no rows: expected files that `log` of a model has written"
        )
    if as_json:
        output.print_json(data=result.as_dict())
    else:
        result.print()
    if not result.is_same:
        raise typer.Exit(FAILED)


def _speed(text: str) -> float | None:
    if text == "max":
        return None
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0 < speed < float("inf"):
        raise usage_error(f"--speed: expected a number above 0, or max, got {text!r}")
    return speed
