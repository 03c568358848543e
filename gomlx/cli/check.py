"""gomlx check: everything that is wrong with a config, and with its connections.

Imports the service's libraries when it runs: other commands do without them.
"""

import dataclasses
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gomlx.cli.terminal import (
    FAILED,
    errors,
    errors_reported,
    output,
    print_warning,
)

if TYPE_CHECKING:
    from gomlx.config.schema import Config, Model


def check(
    config: Annotated[Path, typer.Argument(help="The config file (YAML).")],
    connect: Annotated[
        bool, typer.Option("--connect", help="Also try the connections to Redis.")
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Only try the connections; print JSON."),
    ] = False,
) -> None:
    """Check a config file; print everything that is wrong with it at once.

    With --connect, a connection that fails is printed with its probable cause and what
    to do about it.

    Exit codes: 0 fine, 1 a connection cannot be used, 2 the config is wrong.
    """
    with errors_reported():
        from gomlx.config.load import load_config

        checked = load_config(config)
        expiry = _certificate_expiry(checked)
    if as_json:
        _try_connections(checked, as_json)
        return
    if expiry:
        output.print("endpoint: TLS; its certificate expires", expiry)
    for model in checked.models:
        _check_model(model)
    if connect:
        _try_connections(checked, as_json)
    output.print(f"[green]{config} is fine[/]")


def _check_model(model: "Model") -> None:
    """Print a model's line, and warnings of what may be wrong with it."""
    from gomlx.runtime.masking import masked

    cached = f"cached in {model.datastore}" if model.datastore else "not cached"
    output.print(escape(f"model {model.id}: {masked(model.url)} ({cached})"))
    if "://" not in model.url and not Path(model.url).exists():
        print_warning(f"{model.url} is not there (yet)")
    for name in _auxiliaries_outside_key(model):
        print_warning(
            f"model {model.id}: the transformer is given {name}, which is not in "
            "key_fields: rows that differ in it share one answer"
        )


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


def _try_connections(config: "Config", as_json: bool) -> None:
    """Print the result of each connection; exit with 1 if one cannot be used."""
    from gomlx.cli.connect import try_connections

    results = try_connections(config)
    if as_json:
        output.print_json(data=[dataclasses.asdict(one) for one in results])
    else:
        for one in results:
            (errors if one.problem else output).print(escape(str(one)))
    if any(one.problem for one in results):
        raise typer.Exit(FAILED)
