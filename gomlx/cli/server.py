"""Commands of the extra `server`: serve, demo, inspect, key, clean, stage.

Each imports the service's libraries when it runs: the other commands do without them.
"""

import asyncio
import faulthandler
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gomlx.cli.terminal import (
    FAILED,
    errors_reported,
    output,
    print_error,
    usage_error,
)
from gomlx.errors import GomlxError, StageInterrupted

if TYPE_CHECKING:
    from gomlx.cli.service import Reload, Visit
    from gomlx.config.schema import LoadedConfig
    from gomlx.contract.signature import Signature
    from gomlx.models.version import StageLimits

_TENSORFLOW_MB = 512  # which staging allocates whatever the model is

_CACHE_MB = 256
ConfigFile = Annotated[
    Path, typer.Option("--config", "-c", help="The config file (YAML).")
]
OtherSignature = Annotated[
    str, typer.Option("--signature", help="Another signature than the model's own one.")
]


def serve(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            help="SavedModels, paths or URLs, each served under its folder's name;"
            " instead of a config."
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="The config file (YAML).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(help="The port, for models without a config; 0: any free one."),
    ] = None,
    cache_mb: Annotated[
        int | None,
        typer.Option(help="Memory for answers, for models without a config.", min=0),
    ] = None,
) -> None:
    """Serve models until Ctrl-C or SIGTERM: those of a config file, or those named.

    Options of the config can also come from the environment: GOMLX_ENDPOINT__PORT=80.

    Exit codes: 0 stopped, 1 could not start, 2 the config or the usage is wrong.
    """
    with errors_reported():
        from gomlx.config.load import load_config
        from gomlx.config.models import config_of_models

        if bool(models) == (config is not None):
            raise usage_error("name either models or a config file (-c FILE)")
        if config is None:
            memory = _CACHE_MB if cache_mb is None else cache_mb
            checked = config_of_models(models or [], port, memory)
        elif port is None and cache_mb is None:
            checked = load_config(config)
        else:
            raise usage_error("--port and --cache-mb are for models without a config")
        _serve(checked, reload=partial(load_config, config) if config else None)


def run() -> None:
    """Serve a config (a line of standard input, as JSON) until that is closed.

    Print the URL, as JSON, once it is known.
    """
    with errors_reported():
        from gomlx.config.load import decoded

        _serve(decoded(sys.stdin.readline()), _until_closed)


def _serve(
    config: "LoadedConfig",
    visit: "Visit | None" = None,
    reload: "Reload | None" = None,
) -> None:
    from gomlx.cli.service import run_service
    from gomlx.runtime.logs import log, log_to_stderr

    is_json = config.log_format == "json"
    log_to_stderr(config.log_level, config.log_format)
    with errors_reported(log.critical if is_json else print_error):
        run_service(config, visit, reload)


async def _until_closed(url: str) -> bool:
    print(json.dumps({"url": url}), flush=True)  # noqa: T201  # read by the parent
    closed = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, closed.set)
    await closed.wait()
    return False


def demo(
    directory: Annotated[
        Path, typer.Option(help="The folder of the model and its config.")
    ] = Path("gomlx-demo"),
    port: Annotated[int, typer.Option(help="The port; 0 for any free one.")] = 8080,
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the two predictions.")
    ] = False,
) -> None:
    """Train a model on real flights, serve it, and send it the same request twice.

    The second answer comes from the cache. The service then runs until Ctrl-C.
    """
    with errors_reported():
        from gomlx.cli.service import run_service
        from gomlx.config.load import load_config
        from gomlx.demo import tour as flights
        from gomlx.runtime.logs import log_to_stderr

        checked = load_config(flights.prepare(directory, port))
        log_to_stderr("warning")
        run_service(checked, lambda url: flights.tour(url, directory, once))


def inspect(
    url: Annotated[
        str, typer.Argument(help="A SavedModel; with --config, the id of a model.")
    ],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The config with the model's settings."),
    ] = None,
    signature: OtherSignature = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the kind of each input of a model, and why it has that kind.

    Rows share a cached answer if every input has the same canonical value:

        vocabulary   itself if the model knows the value; all others are one
        buckets      one for all values between two thresholds
        rounded      the value at the precision that the config gives
        exact        the value; the proof names what keeps the kind from being coarser
        auxiliary    the value if key_fields names the input, else none

    The column "distinct" is the number of canonical values; their product, the key
    space, the number of answers that a cache holds when every row hits. The last line
    says whether rows may run together, or which operation prevents the proof.
    """
    with errors_reported():
        from gomlx.cli.explain import staged
        from gomlx.cli.service import inspection_of

        with staged(inspection_of(url, config, signature)) as model:
            found = model.as_dict()
    if as_json:
        output.print_json(data=found)
        return
    keys = found["key_space"]
    output.print(_table(found["inputs"]))
    output.print("keys:", "no bound" if keys is None else f"at most {keys:,}")
    verdict = rows_verdict(found["rows_apart"], found["rows_together"])
    output.print("rows:", escape(verdict))


def _table(inputs: list[dict[str, Any]]) -> Table:
    names = [n for n in inputs[0] if any(line[n] != "" for line in inputs)]
    table = Table(*(name.replace("_", " ") for name in names))
    for line in inputs:
        cells = [line[name] for name in names]
        table.add_row(*("no bound" if v is None else str(v) for v in cells))
    return table


def rows_verdict(apart: str, together: bool) -> str:
    """Say whether rows of different requests run together."""
    if together:
        return "those of a request run together and have one answer, as the config says"
    if not apart:
        return "run together: none depends on its neighbours"
    return f"run one at a time, since one may depend on its neighbours: {apart}"


def key(
    model: Annotated[str, typer.Argument(help="The id of the model.")],
    rows: Annotated[list[str], typer.Argument(help="One row or more, each as JSON.")],
    config: ConfigFile,
    signature: OtherSignature = "",
) -> None:
    """Show the canonical row and the key of a row, and which of its values collapsed.

    Of several rows, also show whether they share a cached answer, or which inputs give
    them different keys.
    """
    with errors_reported():
        from gomlx.cli.explain import staged
        from gomlx.cli.service import inspection_of

        with staged(inspection_of(model, config, signature)) as found:
            checked = [found.question(_parse_row(row, found.signature)) for row in rows]
            for question in checked:
                output.print_json(data=found.explain(question))
            if len(checked) > 1:
                differing = ", ".join(found.differing(checked))
                same = "the rows share an entry"
                output.print(f"the rows differ in: {differing}" if differing else same)


def clean(config: ConfigFile) -> None:
    """Free the shared memory that a stopped service keeps for its next start."""
    with errors_reported():
        from gomlx.config.load import load_config
        from gomlx.runtime.rundir import Lease

        run_dir = load_config(config).run_dir
        if run_dir:
            lease = Lease.acquire(Path(run_dir))
            lease.rundir.keep_stores(())
            lease.release()


def stage(
    parent: Annotated[int, typer.Option(help="The supervisor's process id.")] = 0,
    log_descriptor: Annotated[int, typer.Option(help="Where to log.")] = 2,
    log_format: Annotated[str, typer.Option(help="text or json.")] = "text",
) -> None:
    """Stage a model (a StageRequest on standard input); print its version, as JSON.

    Before that, print the name of each further signature that is tried, and what is
    done from now on.
    """
    from gomlx.models.staging.progress import Progress
    from gomlx.models.staging.stage import stage as stage_version
    from gomlx.models.version import StageRequest
    from gomlx.runtime.logs import log_to_stderr
    from gomlx.runtime.process import die_with_parent

    if parent:
        die_with_parent(parent, signal.SIGKILL)
    log_to_stderr("warning", log_format, log_descriptor)
    faulthandler.enable()
    try:
        request = StageRequest.from_json(sys.stdin.read())
        _limit(request.limits)
        # A transformer is the operator's own program, which may do anything.
        is_confined = request.confined and not request.settings.transformer
        forbid = _confined(request.into) if is_confined else None
        told = Progress(_print_begun, forbid or (lambda: None), _print_phase)
        version = stage_version(request, told)
    except GomlxError as error:
        may_pass = isinstance(error, StageInterrupted)
        outcome = {"error": str(error), "may_pass": may_pass}
        print(json.dumps(outcome))  # noqa: T201  # read by the parent
        raise typer.Exit(FAILED) from None
    print(json.dumps({"version": version.to_json()}))  # noqa: T201  # read by the parent


def _limit(limits: "StageLimits") -> None:
    from gomlx.runtime.process import limit_cpu, limit_memory

    if limits.memory_mb:
        limit_memory(limits.memory_mb + _TENSORFLOW_MB << 20)
    if limits.cpu_seconds:
        limit_cpu(limits.cpu_seconds)


def _confined(into: Path) -> Callable[[], object]:
    """Let this process write below a folder only; return what forbids connections.

    Fetching the files may need them.
    """
    from gomlx.runtime.sandbox import confine
    from gomlx.runtime.seccomp import forbid_calls

    into.mkdir(parents=True, exist_ok=True)
    # Libraries find a folder for temporary files there; the supervisor removes it.
    tempfile.tempdir = tempfile.mkdtemp(prefix=".staging-", dir=into)
    os.environ["TMPDIR"] = tempfile.tempdir
    confine([into], may_connect=True)

    def forbid() -> None:
        confine([into], may_connect=False)
        forbid_calls()

    return forbid


def _print_begun(signature: str) -> None:
    print(json.dumps({"begun": signature}), flush=True)  # noqa: T201  # as above


def _print_phase(phase: str) -> None:
    print(json.dumps({"phase": phase}), flush=True)  # noqa: T201  # as above


def _parse_row(row: str, signature: "Signature") -> Any:
    """Parse a row as the service does: it has no key if the service refuses it."""
    from gomlx.server.predict.parse import decoded

    return decoded(os.fsencode(row), signature, sys.maxsize)
