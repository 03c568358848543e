"""The command line.

server   serve, check, inspect, key, demo, clean: need the extra `server`
predict  predictions of a row or a file, through a client  (files)
bench    load on a deployment, through clients             (load, latency)
conformance/  questions to any caching model server
"""

from typing import Annotated, Literal

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined]

from gomlx import __version__
from gomlx.cli import bench, check, predict, server
from gomlx.cli.conformance import command as conformance
from gomlx.cli.replay import command as replay
from gomlx.cli.terminal import output

_EXAMPLES = """\
Examples:

gomlx serve ./ranking --port 8080 — one model, without a config

gomlx predict ranking country=DE age=31 — a prediction, and where it came from

gomlx check config.yaml && gomlx serve -c config.yaml

`gomlx COMMAND --help` explains each; docs/README.md of the sources leads to the rest.
"""
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Serve TensorFlow models; answer every repeated request from a cache.",
    epilog=_EXAMPLES,
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


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], typer.Argument(help="The shell.")],
) -> None:
    """Print a script that completes commands and options; have your shell read it.

    bash: gomlx completion bash > ~/.local/share/bash-completion/completions/gomlx

    fish: gomlx completion fish > ~/.config/fish/completions/gomlx.fish

    zsh: gomlx completion zsh > a file _gomlx in a folder of $fpath
    """
    names = {"prog_name": "gomlx", "complete_var": "_GOMLX_COMPLETE"}
    typer.echo(get_completion_script(**names, shell=shell))


app.command()(server.serve)
app.command()(check.check)
app.command()(server.demo)
app.command()(server.inspect)
app.command()(server.key)
app.command()(server.clean)
app.command(help=predict.HELP)(predict.predict)
app.command(help=bench.HELP)(bench.bench)
app.command(help=conformance.HELP)(conformance.conformance)
app.command(help=replay.HELP)(replay.replay)
app.command()(completion)
app.command(hidden=True)(server.stage)
app.command(hidden=True)(server.run)
