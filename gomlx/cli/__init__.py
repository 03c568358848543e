"""The command line.

server   serve, check, inspect, key, demo, clean: need the extra `server`
predict  predictions of a row or a file, through a client  (files)
bench    load on a deployment, through clients             (load, latency)
conformance/  questions to any caching model server
"""

from typing import Annotated

import typer

from gomlx import __version__
from gomlx.cli import bench, check, predict, server
from gomlx.cli.conformance import command as conformance
from gomlx.cli.terminal import output

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve TensorFlow models; answer every repeated request from a cache.",
)


def _version(is_given: bool) -> None:
    if is_given:
        output.print(f"gomlx {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_version,
            is_eager=True,
            help="Print the version and exit.",
        ),
    ] = False,
) -> None:
    pass


app.command()(server.serve)
app.command()(check.check)
app.command()(server.demo)
app.command()(server.inspect)
app.command()(server.key)
app.command()(server.clean)
app.command(help=predict.HELP)(predict.predict)
app.command(help=bench.HELP)(bench.bench)
app.command(help=conformance.HELP)(conformance.conformance)
app.command(hidden=True)(server.stage)
