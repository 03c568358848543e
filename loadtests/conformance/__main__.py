"""Run the conformance suite against gomlx, Triton and MLServer.

    python -m loadtests.conformance --triton VENV --mlserver VENV

Each VENV is a virtual environment with the server: `pip install nvidia-pytriton`, and
`pip install mlserver 'uvloop<0.22'`. Prints the outcomes, and writes the section of
loadtests/results/conformance.md if all were run. Takes five minutes.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer

from gomlx.cli.conformance.report import print_report
from gomlx.conformance.suite import run
from loadtests.bench.table import console
from loadtests.conformance import page, servers
from loadtests.conformance.servers import Trial

Triton = Annotated[Path | None, typer.Option(help="The environment of Triton.")]
MLServer = Annotated[Path | None, typer.Option(help="The environment of MLServer.")]


def main(triton: Triton = None, mlserver: MLServer = None) -> None:
    """Run the suite against each server in turn."""
    tried = []
    with tempfile.TemporaryDirectory() as work:
        for started in _all(Path(work), triton, mlserver):
            with started as trial:
                console.rule(trial.name)
                outcomes = list(run(trial.options))
            print_report(outcomes)
            tried.append(page.Tried(trial, outcomes))
    if triton and mlserver:
        page.write(tried, time.strftime("%Y-%m-%d", time.gmtime()))


def _all(
    work: Path, triton: Path | None, mlserver: Path | None
) -> Iterator[AbstractContextManager[Trial]]:
    """Yield the servers, none of which has started."""
    folders = {name: work / name for name in ("memory", "redis", "triton", "mlserver")}
    for folder in folders.values():
        folder.mkdir()
    yield servers.gomlx_memory(folders["memory"])
    yield servers.gomlx_redis(folders["redis"])
    if triton:
        yield servers.triton(folders["triton"], triton.absolute())
    if mlserver:
        yield servers.mlserver(folders["mlserver"], mlserver.absolute())


if __name__ == "__main__":
    typer.run(main)
