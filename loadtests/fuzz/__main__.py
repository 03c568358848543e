"""Random input of four kinds, right and wrong: python -m loadtests.fuzz --seconds 60

ways      bytes and requests over HTTP/1.1 and HTTP/2, by two implementations of each:
          all answer alike
frames    sequences of HTTP/2's frames that are changed: errors have a code, and other
          connections are answered
bodies    JSON for models of tests/models/zoo, damaged or not: answered as by
          TensorFlow, cold and warm, or refused with a message; posted, packed, as a
          line of a stream and as a query alike
models    SavedModels and .keras files whose bytes and values are changed: staging ends
          with a reason, or what is served answers as TensorFlow does

Each runs real services or stagings, for so many seconds after they have started, and
prints how many cases had which outcome. Ends at the first finding, with exit code 1 and
a command that finds it again.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from loadtests.fuzz import alike, sequences
from loadtests.fuzz.bodies import fuzzer as bodies
from loadtests.fuzz.cases import Case, Finding, Plan
from loadtests.fuzz.models import fuzzer as models

app = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
Opened = Callable[[Path, str], AbstractContextManager[Case]]
FUZZERS: dict[str, Opened] = {
    "ways": alike.opened,
    "frames": sequences.opened,
    "bodies": bodies.opened,
    "models": models.opened,
}


def fuzz(name: str, plan: Plan, only: str, console: Console) -> None:
    """Run one of them, and print what it did. Exits at a finding."""
    opened = FUZZERS[name]
    with tempfile.TemporaryDirectory(prefix="gomlx-") as folder:
        try:
            with opened(Path(folder), only) as case:
                outcomes = plan.run(case)
        except Finding as finding:
            sys.exit(f"{finding}\n\nin the run from seed {plan.seed} on")
    console.print(f"{name}: {outcomes.total()} cases from seed {plan.seed} on")
    for outcome, count in outcomes.most_common():
        console.print(f"  {count:6} {outcome}")


@app.command()
def main(
    names: Annotated[
        list[str] | None, typer.Argument(help=f"Of {', '.join(FUZZERS)}; all.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="For each of them.")] = 60,
    seed: Annotated[
        int | None, typer.Option(help="The first case; random without it.")
    ] = None,
    cases: Annotated[
        int | None, typer.Option(help="How many, whatever time they take.")
    ] = None,
    only: Annotated[str, typer.Option(help="Models whose name has this.")] = "",
) -> None:
    """Try random input until time is up, or until one is a finding."""
    chosen: Sequence[str] = names or [*FUZZERS]
    if unknown := {*chosen} - FUZZERS.keys():
        raise typer.BadParameter(f"no such fuzzers: {', '.join(sorted(unknown))}")
    first = time.time_ns() // 1000 if seed is None else seed
    console = Console(width=100, highlight=False)
    for name in chosen:
        command = f"python -m loadtests.fuzz {name}"
        fuzz(name, Plan(command, first, seconds, cases), only, console)


if __name__ == "__main__":
    app()
