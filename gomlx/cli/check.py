"""gomlx check: everything that is wrong with a config, its models and connections.

Imports the service's libraries when it runs: other commands do without them.
"""

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from gomlx.cli.terminal import (
    FAILED,
    errors,
    errors_reported,
    output,
    print_error,
    print_warning,
)

if TYPE_CHECKING:
    from gomlx.cli.connect import ConnectionResult
    from gomlx.cli.model_report import ModelReport
    from gomlx.cli.tier_report import TierReport
    from gomlx.config.schema import Config, Model


def check(
    config: Annotated[Path, typer.Argument(help="The config file (YAML).")],
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try the connections to Redis.")
    ] = False,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Read the models' graphs, but run nothing."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check a config file and its models; print everything that is wrong at once.

    Each model is staged in a temporary folder, by a process of its own, as the service
    does it: what cannot be served is refused here with the same reason. Of the others,
    the inputs and outputs are shown, how rows run, and whether answers are cached.

    With --connect, a connection that fails is printed with its probable cause and what
    to do about it; and a look-up is measured, to warn of tiers that cost a model more
    than the runs they save.

    Exit codes: 0 fine, 1 a model or a connection cannot be used, or a signature that
    the config names, 2 the config is wrong.
    """
    with errors_reported():
        found = _found(config, connect, quick)
    if as_json:
        output.print_json(data=dataclasses.asdict(found))
    else:
        _print(found)
    if any(one.problem for one in found.connections) or found.unserved:
        raise typer.Exit(FAILED)
    if not as_json:
        output.print(f"[green]{config} is fine[/]")


@dataclass(frozen=True)
class _Found:
    """What was found out, of what a config names. warnings: of what may be wrong.

    unserved: the models that cannot be served, and signatures, if it names them.
    """

    certificate_expires: str | None
    models: "list[ModelReport]"
    connections: "list[ConnectionResult]"
    tiers: "list[TierReport]"
    warnings: list[str]
    unserved: list[str]


def _found(path: Path, connect: bool, quick: bool) -> _Found:
    """Check all. Raises ConfigInvalid."""
    from gomlx.cli.connect import try_connections
    from gomlx.cli.model_report import model_reports
    from gomlx.cli.service import check_secret_files
    from gomlx.cli.tier_report import tier_reports
    from gomlx.config.access import exposures, hidden
    from gomlx.config.load import load_config

    config = load_config(path)
    check_secret_files(config)
    expires = _certificate_expiry(config)
    warnings = [*exposures(config.endpoint), *hidden(config.endpoint)]
    warnings += [text for model in config.models for text in _warnings(model)]
    reports = model_reports(config, quick)
    connections = try_connections(config) if connect else []
    tiers = tier_reports(config, reports, connections)
    problems = [one.id for one in reports if one.problem]
    wanted = [*_named(config)]
    unserved = [name for name in problems if name in wanted]
    return _Found(expires, reports, connections, tiers, warnings, unserved)


def _named(config: "Config") -> Iterator[str]:
    """Yield the models and the further signatures that a config names."""
    for model in config.models:
        yield model.id
        if not isinstance(model.signatures, str):
            yield from (f"{model.id}:{name}" for name in model.signatures)


def _print(found: _Found) -> None:
    if found.certificate_expires:
        output.print(
            "endpoint: TLS; its certificate expires", found.certificate_expires
        )
    for text in found.warnings:
        print_warning(text)
    for report in found.models:
        _print_model(report, report.id in found.unserved)
    for one in found.connections:
        (errors if one.problem else output).print(escape(str(one)))
    for tier in found.tiers:
        if tier.is_wasteful:
            print_warning(str(tier))
        else:
            output.print(escape(str(tier)))


def _warnings(model: "Model") -> list[str]:
    return [
        f"model {model.id}: the transformer is given {name}, which is not in "
        "key_fields: rows that differ in it share one answer"
        for name in _auxiliaries_outside_key(model)
    ]


def _print_model(report: "ModelReport", is_fault: bool) -> None:
    held = f" ({report.source})" if report.source else ""
    output.print(escape(f"model {report.id}: {report.url}{held}"))
    if report.problem:
        tell = print_error if is_fault else print_warning
        tell(f"model {report.id} cannot be served: {report.problem}")
        return
    output.print(_table(report))
    if report.rows:
        output.print(escape(f"rows: {report.rows}"))
    output.print(escape(f"answers: {report.cached}"))


def _table(report: "ModelReport") -> Table:
    every = ("name", "dtype", "shape", "form", "kind", "proof")
    lines = [*report.inputs, *report.outputs]
    columns = [name for name in every if any(line.get(name) for line in lines)]
    table = Table("", *columns)
    for what, tensors in (("input", report.inputs), ("output", report.outputs)):
        for one in tensors:
            cells = [str(one.get(column, "")) for column in columns]
            table.add_row(what, *map(escape, cells))
    return table


def _auxiliaries_outside_key(model: "Model") -> list[str]:
    """Return the inputs by which a transformer may tell rows of one key apart."""
    if not (model.transformer and model.datastore):
        return []
    auxiliaries = [one.name for one in model.inputs if one.auxiliary]
    return [name for name in auxiliaries if name not in model.key_fields]


def _certificate_expiry(config: "Config") -> str | None:
    """Return the date on which the endpoint's certificate expires, if it has one.

    Raises ConfigInvalid if TLS cannot use the files.
    """
    if config.endpoint.tls is None:
        return None
    from gomlx.config.tls import as_date, load_tls

    loaded = load_tls(config.endpoint.tls)
    if warning := loaded.warning(time.time()):
        print_warning(warning)
    return as_date(loaded.expires)
