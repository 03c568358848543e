"""gomlx serve · check · inspect · key · demo · clean · stage: with the extra `server`.

What they need is imported when they run, so that the other commands do without it.
"""

import dataclasses
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from gomlx.cli.terminal import FAILED, errors, output, reported
from gomlx.errors import GomlxError

if TYPE_CHECKING:
    from gomlx.config.schema import Config, Model
    from gomlx.contract.signature import Signature


def serve(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The config file (YAML).")
    ],
) -> None:
    """Serve the models of a config file until Ctrl-C or SIGTERM.

    Exit codes: 0 stopped, 1 could not start, 2 the config is wrong.
    """
    with reported():
        from gomlx.cli.service import run_service
        from gomlx.config.load import load_config
        from gomlx.runtime.process import log_to_stderr

        checked = load_config(config)
        log_to_stderr(checked.log_level)
        run_service(checked)


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
    with reported():
        from gomlx.config.load import load_config
        from gomlx.config.masking import masked

        checked = load_config(config)
        until = _certificate_expires(checked)
    if as_json:
        _try_connections(checked, as_json)
        return
    if until:
        output.print("endpoint: TLS; its certificate expires", until)
    for model in checked.models:
        cached = f"cached in {model.datastore}" if model.datastore else "not cached"
        output.print(escape(f"model {model.id}: {masked(model.url)} ({cached})"))
        if "://" not in model.url and not Path(model.url).exists():
            errors.print("[yellow]warning:[/]", escape(model.url), "is not there (yet)")
        for warning in _shared_wrongly(model):
            errors.print("[yellow]warning:[/]", escape(warning))
    if connect:
        _try_connections(checked, as_json)
    output.print(f"[green]{config} is fine[/]")


def _shared_wrongly(model: "Model") -> list[str]:
    """Name inputs by which a transformer may tell questions apart that share a key."""
    if not (model.transformer and model.datastore):
        return []
    auxiliary = [one.name for one in model.inputs if one.auxiliary]
    return [
        f"model {model.id}: the transformer is given {name}, which is not in "
        "key_fields: questions that differ in it share one answer"
        for name in auxiliary
        if name not in model.key_fields
    ]


def _certificate_expires(config: "Config") -> str | None:
    """Try the endpoint's TLS, if there is one. Raises ConfigInvalid."""
    if config.endpoint.tls is None:
        return None
    from gomlx.config.tls import as_date, load_tls

    loaded = load_tls(config.endpoint.tls)
    if warning := loaded.warning(time.time()):
        errors.print("[yellow]warning:[/]", warning)
    return as_date(loaded.expires)


def _try_connections(config: "Config", as_json: bool) -> None:
    """Show what came of trying each connection; end with 1 if one is of no use."""
    from gomlx.cli.connect import try_connections

    outcomes = try_connections(config)
    if as_json:
        output.print_json(data=[dataclasses.asdict(one) for one in outcomes])
    for one in [] if as_json else outcomes:
        (errors if one.problem else output).print(escape(str(one)))
    if any(one.problem for one in outcomes):
        raise typer.Exit(FAILED)


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
    with reported():
        from gomlx.cli.service import run_service
        from gomlx.config.load import load_config
        from gomlx.demo import tour as flights
        from gomlx.runtime.process import log_to_stderr

        checked = load_config(flights.prepare(directory, port))
        log_to_stderr("warning")
        run_service(checked, lambda url: flights.tour(url, directory, once))


def inspect(
    url: Annotated[str, typer.Argument(help="A SavedModel; with --config, an id.")],
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Whose settings to use.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Show what a model can tell apart: the kind of each input, and the proof."""
    with reported():
        from gomlx.cli.explain import staged
        from gomlx.cli.service import request_of

        with staged(request_of(url, config)) as found:
            inputs, size = found.inputs(), found.key_space()
    if as_json:
        output.print_json(data={"inputs": inputs, "key_space": size})
        return
    table = Table(*(name.replace("_", " ") for name in inputs[0]))
    for line in inputs:
        table.add_row(*("no bound" if v is None else str(v) for v in line.values()))
    output.print(table)
    output.print("keys:", "no bound" if size is None else f"at most {size:,}")


def key(
    model: Annotated[str, typer.Argument(help="The id of a model.")],
    rows: Annotated[list[str], typer.Argument(help="One row or more, each as JSON.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The config file (YAML).")
    ],
) -> None:
    """Show a row's canonical row and key; of several, whether they share an answer."""
    with reported():
        from gomlx.cli.explain import staged
        from gomlx.cli.service import request_of

        with staged(request_of(model, config)) as found:
            questions = [found.row(_decoded(row, found.signature)) for row in rows]
            for one in questions:
                output.print_json(data=found.explained(one))
            if len(questions) > 1:
                differ = ", ".join(found.differing(questions))
                same = "the rows share an entry"
                output.print(f"the rows differ in: {differ}" if differ else same)


def clean(
    config: Annotated[Path, typer.Option("--config", "-c", help="The service's.")],
) -> None:
    """Free the shared memory that a stopped service keeps for its next start."""
    with reported():
        from gomlx.config.load import load_config
        from gomlx.runtime.rundir import Lease

        run_dir = load_config(config).run_dir
        if run_dir:
            lease = Lease.acquire(Path(run_dir))
            lease.rundir.keep_stores(())
            lease.release()


def stage(
    parent: Annotated[int, typer.Option(help="The supervisor's process id.")] = 0,
) -> None:
    """Stage a model (a StageRequest on standard input); print its digest, as JSON."""
    from gomlx.models.staging.stage import stage as stage_version
    from gomlx.models.version import StageRequest
    from gomlx.runtime.process import die_with_parent, log_to_stderr

    if parent:
        die_with_parent(parent, signal.SIGKILL)
    log_to_stderr("warning")
    try:
        version = stage_version(StageRequest.from_json(sys.stdin.read()))
    except GomlxError as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201  # read by the parent
        raise typer.Exit(FAILED) from None
    print(json.dumps({"digest": version.digest}))  # noqa: T201  # read by the parent


def _decoded(row: str, signature: "Signature") -> Any:
    """Decode a row as the service does: it has no key that the service refuses."""
    from gomlx.server.predict.parse import decoded

    return decoded(os.fsencode(row), signature, sys.maxsize)
