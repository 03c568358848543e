"""The commands of python -m loadtests."""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.table import Table

from loadtests.bench import profiles, results, scenarios, table, whole
from loadtests.bench.measure import Rig
from loadtests.bench.whole import Workplace, console
from loadtests.load import deployment, procfs, services
from loadtests.load.wrk import missing

_ROOT = Path(__file__).parent
_MODULES = {
    ".".join(path.relative_to(_ROOT).with_suffix("").parts): path
    for path in sorted(_ROOT.rglob("*.py"))
}
_PROGRAMS = ", ".join(
    name
    for name, path in _MODULES.items()
    if f"python -m loadtests.{name}" in path.read_text()
)
_EPILOG = f"""\
Programs of their own, each with a docstring that says what it does: python -m
loadtests.NAME, where NAME is one of {_PROGRAMS}.
"""
app = typer.Typer(
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="markdown",
)
app.command(name="open")(deployment.open_loop)
app.command(name="closed")(deployment.closed_loop)
_QUICK_ROUNDS, _QUICK_SECONDS = 2, 1


class Scenario(StrEnum):
    overload = "overload"
    stampede = "stampede"
    swap = "swap"
    traffic = "traffic"
    http2 = "http2"


@app.callback()
def common(
    context: typer.Context,
    work: Annotated[
        Path, typer.Option(help="Where models are built, once, and kept.")
    ] = Path(".loadtests"),
    model_s: Annotated[
        Path | None, typer.Option(help="A SavedModel for S instead of the built one.")
    ] = None,
    priority: Annotated[
        bool,
        typer.Option("--priority", help="Go before other processes; needs root."),
    ] = False,
) -> None:
    """Load tests of gomlx.

    **table** measures everything beside others, in one run on this machine;
    **scenario** and **profile** look at one thing; **open** and **closed** load any
    deployment. What counts is CPU a request: it is hardly disturbed by what else a
    machine does, while rates and latencies are.
    """
    context.obj = Workplace(work, model_s)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and all that was started
    if priority:
        context.call_on_close(procfs.prefer())


@app.command(name="table")
def whole_table(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and shorter runs: two minutes.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Of all runs, in turns.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Of each run.")] = 3,
    save: Annotated[
        bool, typer.Option(help="Write loadtests/results and the README's table.")
    ] = True,
) -> None:
    """Measure everything in one run, and judge it by its goals.

    `python -m loadtests table --quick --no-save`

    Starts gomlx, nginx and the peers that are installed on loopback: the server on the
    first core, the load on the second. Missed goals are no failure: the numbers are
    what they are.
    """
    _need("wrk")
    if quick:
        rounds, seconds = min(rounds, _QUICK_ROUNDS), min(seconds, _QUICK_SECONDS)
    started = perf_counter()
    found = whole.measure(context.obj, quick, rounds, seconds)
    _print_goals(found["goals"])
    console.print(f"\n{perf_counter() - started:.0f} s")
    if save:
        results.save(found)


@app.command()
def scenario(
    context: typer.Context,
    names: Annotated[list[Scenario], typer.Argument(help="Which to run.")],
    seconds: Annotated[float, typer.Option(min=1, help="Of the overload.")] = 30,
) -> None:
    """Run single scenarios, and show all figures.

    `python -m loadtests scenario overload swap`
    """
    _need("wrk")
    rig = Rig(whole.load_cores(), 2)
    with context.obj.opened() as (folder, models):
        others = [name for name in names if name != Scenario.swap]
        if others:
            with services.gomlx(folder / "one", table.served(models)) as system:
                for name in others:
                    run = scenarios.OF_ONE_SERVICE[name]
                    _show(name, run(rig, system, seconds))
        if Scenario.swap in names:
            _show("swap", scenarios.of_swap(rig, folder, models))


@app.command()
def profile(
    context: typer.Context,
    names: Annotated[
        list[str], typer.Argument(help="Of runs of the table: 'gomlx R miss 16'.")
    ],
    seconds: Annotated[float, typer.Option(min=1, help="Of each.")] = 5,
) -> None:
    """Show where the CPU of runs goes, by py-spy: functions by their own time.

    `python -m loadtests profile 'gomlx S hit 16' 'gomlx R miss 64'`
    """
    _need("wrk")
    _need("py-spy")
    cells = {cell.name: cell for cell in table.cells(quick=False)}
    if unknown := [n for n in names if n not in cells or cells[n].system != "gomlx"]:
        known = [name for name, cell in cells.items() if cell.system == "gomlx"]
        raise typer.BadParameter(f"no such runs: {unknown}; there are {known}")
    rig = Rig(whole.load_cores(), seconds)
    with (
        context.obj.opened("SR") as (folder, models),
        services.gomlx(folder / "one", models) as system,
    ):
        for name in names:
            console.print(profiles.profile(rig, system, cells[name], seconds))


@app.command()
def readme() -> None:
    """Write all tables and the plot anew from loadtests/results/table.json."""
    results.save(results.load())


def _need(program: str) -> None:
    if problem := missing(program):
        raise typer.BadParameter(f"needs {problem}")


def _print_goals(lines: list[scenarios.Line]) -> None:
    shown = Table("path", "goal", "measured", "least", "most", "")
    for line in lines:
        numbers = (results.number(line.get(k)) for k in ("measured", "least", "most"))
        verdict = "met" if line["is_met"] else "[red]missed[/]"
        shown.add_row(line["path"], line["goal"], *numbers, verdict)
    console.print(shown)


def _show(name: str, outcome: scenarios.Outcome) -> None:
    shown = Table(name, "")
    for key, value in results.flat(outcome.figures).items():
        shown.add_row(key, results.number(value))
    console.print(shown)
    _print_goals(outcome.lines)
