"""The command line: gomlx.cli.server has what needs the service's libraries."""

from typing import Annotated

import typer

from gomlx import __version__
from gomlx.cli import server
from gomlx.cli.bench import bench
from gomlx.cli.predict import predict
from gomlx.cli.terminal import output

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve TensorFlow models; answer every repeated question from a cache.",
)


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


for command in (
    *(server.serve, server.check, server.demo, server.inspect, server.key),
    *(server.clean, predict, bench),
):
    app.command()(command)
app.command(hidden=True)(server.stage)
