"""gomlx conformance: does a caching model server answer as its models would?"""

from importlib.util import find_spec
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from gomlx.cli.bench import AsJson
from gomlx.cli.conformance.report import print_report
from gomlx.cli.terminal import FAILED, INVALID, output, usage_error
from gomlx.conformance.options import (
    FormatName,
    LoadName,
    ProtocolName,
    RunOptions,
    Server,
)
from gomlx.conformance.suite import CHECKS, run
from gomlx.conformance.verdict import CheckOutcome, CheckResult

HELP = """
Ask a caching model server what only a right cache answers rightly.

The command writes small models of its own into the folder that the server loads them
from, changes them while it asks, and compares each answer with what the model gives:

    gomlx conformance http://127.0.0.1:8080 --model-dir models
    gomlx conformance http://127.0.0.1:8000 --model-dir models \\
        --protocol oip --format triton --load api

The server must serve conformance_words, conformance_twin, conformance_cube and
conformance_fragile, each from the folder of that name; a server that watches its files
may be started before or after the command. A wrong answer is shown with the requests
that lead to it. What needs more than HTTP does not apply without its option:
--restart-command, --redis-url, --ttl-seconds, --other-url.

Exit codes: 0 nothing is wrong, 1 an answer is wrong, 2 wrong arguments, or the server
or a hook failed.
"""
Url = Annotated[str, typer.Argument(help="The server's URL.")]
ModelDir = Annotated[
    Path, typer.Option(help="The folder with a folder for each of the server's models.")
]
ProtocolOption = Annotated[ProtocolName, typer.Option(help="How to query the server.")]
ModelFormat = Annotated[
    FormatName | None,
    typer.Option(
        "--format",
        help="What the server loads. Default: triton for oip, else savedmodel, which "
        "needs the extra `server`.",
    ),
]
LoadWay = Annotated[
    LoadName,
    typer.Option(
        help="Whether the server watches its files, or loads them by command."
    ),
]
Only = Annotated[
    list[str] | None, typer.Option(help="A check by its name; may be repeated.")
]
Wait = Annotated[
    float, typer.Option(help="The longest a version takes to be served, in seconds.")
]
RestartCommand = Annotated[
    str | None, typer.Option(help="A command of the shell that restarts the server.")
]
TierUrl = Annotated[
    str | None,
    typer.Option(help="The Redis that holds the server's answers: they are changed."),
]
Ttl = Annotated[
    float | None, typer.Option(help="The time to live that the server has, in seconds.")
]
OtherUrl = Annotated[
    str | None, typer.Option(help="A second server, which shares a tier.")
]
OtherModelDir = Annotated[
    Path | None, typer.Option(help="The folder of the second server's models.")
]


def conformance(
    url: Url,
    model_dir: ModelDir,
    protocol: ProtocolOption = ProtocolName.mly,
    form: ModelFormat = None,
    load: LoadWay = LoadName.watch,
    only: Only = None,
    wait_seconds: Wait = 120.0,
    restart_command: RestartCommand = None,
    redis_url: TierUrl = None,
    ttl_seconds: Ttl = None,
    other_url: OtherUrl = None,
    other_model_dir: OtherModelDir = None,
    as_json: AsJson = False,
) -> None:
    """Ask every question; HELP has the rest."""
    is_oip = protocol is ProtocolName.oip
    options = RunOptions(
        _server(url, model_dir),
        protocol,
        form or (FormatName.triton if is_oip else FormatName.savedmodel),
        load,
        wait_seconds,
        restart_command=restart_command,
        redis_url=redis_url,
        ttl_seconds=ttl_seconds,
        other=_other(other_url, other_model_dir),
    )
    _check(options, only or [])
    outcomes = list(run(options, only or ()))
    _print(options, outcomes, as_json)
    results = {one.result for one in outcomes}
    if CheckResult.wrong in results:
        raise typer.Exit(FAILED)
    if CheckResult.failed in results:
        raise typer.Exit(INVALID)


def _server(url: str, models: Path) -> Server:
    if urlsplit(url).scheme not in ("http", "https"):
        raise usage_error(f"expected a URL such as http://127.0.0.1:8080, got {url!r}")
    if models.exists() and not models.is_dir():
        raise usage_error(f"--model-dir: {models} is not a folder")
    return Server(url, models.absolute())


def _other(url: str | None, models: Path | None) -> Server | None:
    if url is None and models is None:
        return None
    if url is None or models is None:
        raise usage_error("--other-url and --other-model-dir go together")
    return _server(url, models)


def _check(options: RunOptions, only: list[str]) -> None:
    """Raise typer.Exit for what no run can do, after printing it."""
    names = [check.name for check in CHECKS]
    if unknown := sorted(set(only) - set(names)):
        raise usage_error(f"no check {unknown[0]!r}; there are: {', '.join(names)}")
    if options.format is FormatName.savedmodel and find_spec("tensorflow") is None:
        raise usage_error("to write SavedModels: pip install 'gomlx[server]'")
    if options.load is LoadName.api and options.protocol is not ProtocolName.oip:
        raise usage_error(f"--load api: {options.protocol} has no request for it")


def _print(options: RunOptions, outcomes: list[CheckOutcome], as_json: bool) -> None:
    if not as_json:
        print_report(outcomes)
        return
    document = {
        "url": options.server.url,
        "protocol": options.protocol.value,
        "checks": [one.document() for one in outcomes],
    }
    output.print_json(data=document)
