"""Every kind of fault, under load: python -m loadtests.faults [--only TEXT] [--list]

Real services on loopback, with real Redis servers, get one fault after the other, each
under an open loop of requests over many connections. Every answer is compared with what
TensorFlow itself gives for the version that the answer names. A fault is stood if no
answer is wrong, no request fails but those whose connections died with a process that
was killed, every answer comes within the fault's time, everything recovers, and nothing
is left behind. Exits with 1 if one is not.

Run as root where possible: then shared memory and disks are small ones of its own,
which it can fill. Without, these faults are left out.
"""

import sys
from time import perf_counter
from typing import Annotated

import typer
from rich.console import Console

from loadtests.faults import namespace, report, scenes
from loadtests.faults.suite import Suite

_SHARED_MEGABYTES = 128


def main(
    only: Annotated[
        list[str] | None, typer.Option(help="Faults whose name has one of these.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each lasts.")] = 2,
    lists: Annotated[bool, typer.Option("--list", help="List all faults.")] = False,
    save: Annotated[bool, typer.Option(help=f"Write {report.PAGE.name}.")] = True,
) -> None:
    """Do each fault to a service under load, and judge what comes of it."""
    console = Console(width=None if sys.stdout.isatty() else 160, highlight=False)
    families = [family.only(only or [""]) for family in scenes.FAMILIES]
    if lists:
        for family in families:
            for fault in family.faults:
                console.print(fault.name)
        return
    started = perf_counter()
    suite = Suite(console, seconds, namespace.isolate(_SHARED_MEGABYTES))
    about = ""
    for family in families:
        suite.run(family)
        about = report.about(suite.outcomes, perf_counter() - started)
        if save and not only:  # also of a run that is ended early
            report.PAGE.write_text(report.page(suite.outcomes, suite.skipped, about))
    console.print(report.shown(suite.outcomes))
    console.print(about)
    for one in suite.skipped:
        console.print(f"not made: {one}")
    if any(one.problems for one in suite.outcomes):
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
