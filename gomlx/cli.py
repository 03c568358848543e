"""gomlx serve · check · inspect · key · demo · stage: for people and supervisor."""

import asyncio
import dataclasses
import json
import logging
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gomlx import __version__
from gomlx.cache.shm import create_store
from gomlx.config import Config, Model, load
from gomlx.errors import ConfigInvalid, GomlxError, InvalidInput, ModelNotFound
from gomlx.masking import masked
from gomlx.models.version import Settings, StageRequest
from gomlx.process import die_with_parent, listen, log_to_stderr, url_of
from gomlx.rundir import Lease, RunDir, RunDirInUse, write_privately
from gomlx.supervisor.supervisor import Supervisor, Timing

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve TensorFlow models; answer every repeated question from a cache.",
)
log = logging.getLogger("gomlx")
errors = Console(stderr=True, highlight=False, soft_wrap=True)
output = Console(highlight=False, soft_wrap=True)

FAILED, INVALID = 1, 2  # exit codes


def _version(wanted: bool) -> None:
    if wanted:
        output.print(f"gomlx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show it."),
    ] = False,
) -> None:
    pass


@app.command()
def serve(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The config file (YAML).")
    ],
) -> None:
    """Serve the models of a config file until Ctrl-C or SIGTERM.

    Exit codes: 0 stopped, 1 could not start, 2 the config is wrong.
    """
    with _reported():
        checked = load(config)
        log_to_stderr(checked.log_level)
        run_service(checked)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="The config file (YAML).")],
    connect: Annotated[
        bool, typer.Option("--connect", help="Try the connections, too.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Only the connections, for programs.")
    ] = False,
) -> None:
    """Say all that is wrong with a config file at once.

    Exit codes: 0 fine, 1 a connection cannot be used, 2 wrong.
    """
    with _reported():
        checked = load(config)
    if as_json:
        _try_connections(checked, as_json)
        return
    for model in checked.models:
        cached = f"cached in {model.datastore}" if model.datastore else "not cached"
        output.print(escape(f"model {model.id}: {masked(model.url)} ({cached})"))
        if "://" not in model.url and not Path(model.url).exists():
            errors.print("[yellow]warning:[/]", escape(model.url), "is not there (yet)")
    if connect:
        _try_connections(checked, as_json)
    output.print(f"[green]{config} is fine[/]")


def _try_connections(config: Config, as_json: bool) -> None:
    """Show what came of trying each connection; end with 1 if one is of no use."""
    from gomlx.connect import try_connections

    outcomes = try_connections(config)
    if as_json:
        output.print_json(data=[dataclasses.asdict(one) for one in outcomes])
    for one in [] if as_json else outcomes:
        (errors if one.problem else output).print(escape(str(one)))
    if any(one.problem for one in outcomes):
        raise typer.Exit(FAILED)


@app.command()
def demo(
    directory: Annotated[
        Path, typer.Option(help="Keeps the model and its config.")
    ] = Path("gomlx-demo"),
    port: Annotated[int, typer.Option(help="0 takes any free one.")] = 8080,
    once: Annotated[
        bool, typer.Option("--once", help="End after the two predictions.")
    ] = False,
) -> None:
    """Train a model on real flights, serve it, and ask it the same thing twice."""
    from gomlx import demo as flights

    with _reported():
        checked = load(flights.prepare(directory, port))
        log_to_stderr("warning")
        run_service(checked, lambda url: flights.tour(url, directory, once))


@app.command()
def inspect(
    url: Annotated[str, typer.Argument(help="A SavedModel; with --config, an id.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Whose settings to use.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a model can tell apart: the kind of each input, and the proof."""
    from gomlx.explain import staged

    with _reported(), staged(_request(url, config)) as found:
        inputs, size = found.inputs(), found.key_space()
        if as_json:
            output.print_json(data={"inputs": inputs, "key_space": size})
            return
        table = Table(*(name.replace("_", " ") for name in inputs[0]))
        for line in inputs:
            table.add_row(*("no bound" if v is None else str(v) for v in line.values()))
        output.print(table)
        output.print("keys:", "no bound" if size is None else f"at most {size:,}")


@app.command()
def key(
    model: Annotated[str, typer.Argument(help="The id of a model.")],
    rows: Annotated[list[str], typer.Argument(help="One row or more, each as JSON.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The config file (YAML).")
    ],
) -> None:
    """Show a row's canonical row and key; of several, whether they share an answer."""
    from gomlx.explain import staged

    with _reported(), staged(_request(model, config)) as found:
        questions = [found.row(_decoded(row)) for row in rows]
        for one in questions:
            output.print_json(data=found.explained(one))
        if len(questions) > 1:
            differ = ", ".join(found.differing(questions))
            same = "the rows share an entry"
            output.print(f"the rows differ in: {differ}" if differ else same)


@app.command(hidden=True)
def stage(
    parent: Annotated[int, typer.Option(help="The supervisor's process id.")] = 0,
) -> None:
    """Stage a model (a StageRequest on standard input); print its digest, as JSON."""
    from gomlx.models.stage import stage as stage_version

    if parent:
        die_with_parent(parent, signal.SIGKILL)
    log_to_stderr("warning")
    try:
        version = stage_version(StageRequest.from_json(sys.stdin.read()))
    except GomlxError as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201  # read by the parent
        raise typer.Exit(FAILED) from None
    print(json.dumps({"digest": version.digest}))  # noqa: T201  # read by the parent


def run_service(
    config: Config, visit: Callable[[str], Coroutine[Any, Any, bool]] | None = None
) -> None:
    """Run the service until it is told to stop.

    visit, if given, runs beside it with its URL; the service stops when it returns
    False. Raises RunDirInUse, ConfigInvalid without a password that a file should
    hold, GomlxError when the port is taken or memory is short.
    """
    for connection in config.connections:
        connection.read_password()  # better now than in a worker
    listener = listen(config.endpoint.host, config.endpoint.port)
    lease = Lease.take(Path(config.run_dir) if config.run_dir else None)
    try:
        for store in config.datastores:
            if store.memory_mb:
                create_store(lease.rundir.store(store.id), store.memory_mb << 20)
        log.info("listening at %s", url_of(listener))
        write_privately(lease.rundir.config, msgspec.json.encode(config))
        asyncio.run(_run(config, lease.rundir, listener, visit))
    finally:
        lease.release()
        listener.close()


async def _run(
    config: Config,
    rundir: RunDir,
    listener: socket.socket,
    visit: Callable[[str], Coroutine[Any, Any, bool]] | None,
) -> None:
    watch, graceful = config.watch, config.endpoint.graceful_seconds
    timing = Timing(
        watch.poll_seconds, watch.settle_seconds, watch.stage_seconds, graceful
    )
    requests = [
        stage_request(model, rundir.models / model.id) for model in config.models
    ]
    supervisor = Supervisor(requests, rundir, listener, timing)
    if visit is None:
        await supervisor.run()
        return
    serving = asyncio.create_task(supervisor.run())
    visiting = asyncio.create_task(visit(url_of(listener)))
    await asyncio.wait({serving, visiting}, return_when=asyncio.FIRST_COMPLETED)
    if not visiting.done():
        visiting.cancel()
    elif visiting.exception() or not visiting.result():
        supervisor.stop()
    await serving
    if visiting.done() and not visiting.cancelled():
        visiting.result()  # raises what went wrong


def _request(model: str, config: Path | None) -> StageRequest:
    """Return the request for a model of a config; without a config, for its path."""
    if config is None:
        path = model if "://" in model else str(Path(model).absolute())
        return stage_request(Model(id="model", url=path), Path())
    models = {one.id: one for one in load(config).models}
    if model not in models:
        raise ModelNotFound(model, models)
    return stage_request(models[model], Path())


def _decoded(row: str) -> Any:
    try:
        return json.loads(row)
    except ValueError as error:
        raise InvalidInput(f"malformed JSON: {error}") from None


def stage_request(model: Model, into: Path) -> StageRequest:
    """Return what staging needs to know of a configured model."""
    settings = Settings(
        {i.name: i.precision for i in model.inputs if i.precision is not None},
        tuple(i.name for i in model.inputs if i.wildcard),
        tuple(i.name for i in model.inputs if i.auxiliary),
        model.key_fields,
        model.transformer or "",
    )
    return StageRequest(
        model.id, model.url, into, model.signature, model.example, settings
    )


@contextmanager
def _reported() -> Iterator[None]:
    """Errors that a person can mend are sentences, not stack traces."""
    try:
        yield
    except ConfigInvalid as error:
        for line in str(error).splitlines():
            errors.print("[red]error:[/]", escape(line))
        raise typer.Exit(INVALID) from None
    except (GomlxError, RunDirInUse, OSError) as error:
        errors.print("[red]error:[/]", escape(str(error)))
        raise typer.Exit(FAILED) from None
