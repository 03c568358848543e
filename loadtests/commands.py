"""The commands of python -m loadtests."""

import signal
import sys
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import Annotated

import typer
from rich.table import Table

from loadtests.bench import cells, profiles, results, scenarios, table
from loadtests.bench.goals import Line
from loadtests.bench.measure import Rig
from loadtests.bench.table import Workplace, console
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
Other programs, each described by its docstring: python -m loadtests.NAME, where NAME is
one of {_PROGRAMS}.
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
_QUICK_ROUNDS = 2
_QUICK_SECONDS = 1


class Scenario(StrEnum):
    """A scenario, by the name of its figures."""

    overload = "overload"
    stampede = "stampede"
    swap = "swap"
    traffic = "traffic"
    http2 = "http2"


@app.callback()
def common(
    context: typer.Context,
    work: Annotated[
        Path, typer.Option(help="The folder of models, which are built once.")
    ] = Path(".loadtests"),
    model_s: Annotated[
        Path | None, typer.Option(help="A SavedModel for S instead of the built one.")
    ] = None,
    priority: Annotated[
        bool,
        typer.Option("--priority", help="Run before other processes; needs root."),
    ] = False,
) -> None:
    """Load tests of gomlx.

    **table** measures gomlx beside other servers, in one run on this machine;
    **scenario** and **profile** measure single scenarios and runs; **open** and
    **closed** load any deployment. The figure to compare is CPU per request: other
    programs on the machine disturb it less than rates and latencies.
    """
    context.obj = Workplace(work, model_s)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # ends servers, too
    if priority:
        context.call_on_close(procfs.prefer())


@app.command(name="table")
def whole_table(
    context: typer.Context,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and shorter runs, in two minutes.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a run.")] = 3,
    save: Annotated[
        bool, typer.Option(help="Write loadtests/results and the README's table.")
    ] = True,
) -> None:
    """Measure everything, and judge it by the goals.

    `python -m loadtests table --quick --no-save`

    Starts gomlx, nginx and those peers that are installed, on loopback: the server on
    the first core, the load on the second. Missed goals do not change the exit code.
    """
    _need("wrk")
    if quick:
        rounds = min(rounds, _QUICK_ROUNDS)
        seconds = min(seconds, _QUICK_SECONDS)
    started = perf_counter()
    measured = table.measure(context.obj, quick, rounds, seconds)
    _print_goals(measured["goals"])
    console.print(f"\n{perf_counter() - started:.0f} s")
    if save:
        results.save(measured)


@app.command()
def peers(
    context: typer.Context,
    commands: Annotated[
        list[str],
        typer.Argument(
            help="NAME=COMMAND: what starts a server. {port} in it is where it has to "
            "listen on loopback, {S} and {R} are the SavedModels."
        ),
    ],
    model: Annotated[list[str], typer.Option(help="S, R or both.")] = ["S"],  # noqa: B006
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Length of a run.")] = 3,
) -> None:
    """Measure other servers in the same rounds as gomlx and nginx.

    `python -m loadtests peers 'mine=python mine.py {S} {port}'`

    A server answers the POST of a row, a JSON object as gomlx takes it, with a 200.
    Shows CPU a request in multiples of nginx's constant answer, and as it is.
    """
    _need("wrk")
    _need("nginx")
    given = dict(one.partition("=")[::2] for one in commands)
    rig = Rig(table.load_cores(), seconds)
    with context.obj.opened("".join(model)) as (folder, models):
        found = list(table.beside(rig, folder, models, given, rounds))
    shown = Table("", "N", "µs CPU", "p50 ms", "p99 ms", "requests/s")
    for name, figures in found:
        shown.add_row(name, *map(results.number, figures))
    console.print(shown)


@app.command()
def scenario(
    context: typer.Context,
    names: Annotated[list[Scenario], typer.Argument(help="The scenarios to run.")],
    seconds: Annotated[float, typer.Option(min=1, help="Length of the overload.")] = 30,
) -> None:
    """Run single scenarios, and show all their figures.

    `python -m loadtests scenario overload swap`
    """
    _need("wrk")
    rig = Rig(table.load_cores(), 2)
    with context.obj.opened() as (folder, models):
        others = [name for name in names if name != Scenario.swap]
        if others:
            with services.gomlx(folder / "one", cells.served(models)) as system:
                for name in others:
                    run = scenarios.OF_ONE_SERVICE[name]
                    _show(name, run(rig, system, seconds))
        if Scenario.swap in names:
            _show("swap", scenarios.of_swap(rig, folder, models))


@app.command()
def swap(
    quick: Annotated[
        bool, typer.Option("--quick", help="Short runs, in two minutes; not saved.")
    ] = False,
    demo_rate: Annotated[
        float, typer.Option(min=1, help="Requests a second: half of the knee.")
    ] = 8000,
    large_rate: Annotated[
        float, typer.Option(min=1, help="Of the large model.")
    ] = 6000,
) -> None:
    """Replace models again and again under load, and write loadtests/results/swap.md.

    `python -m loadtests swap --quick`

    The demo's model and one of 400 MB: latencies, hits, memory and disk by half
    seconds. The service is on the first core, the load on the others.
    """
    from loadtests.swaps.run import measured, save

    found = measured(quick, demo_rate, large_rate)
    console.print(found.page, markup=False)
    if not quick:
        save(found)


@app.command()
def profile(
    context: typer.Context,
    names: Annotated[
        list[str], typer.Argument(help="Names of the table's runs: 'gomlx R miss 16'.")
    ],
    seconds: Annotated[float, typer.Option(min=1, help="Length of a run.")] = 5,
) -> None:
    """Show where the CPU of runs goes: functions by their own time, by py-spy.

    `python -m loadtests profile 'gomlx S hit 16' 'gomlx R miss 64'`
    """
    _need("wrk")
    _need("py-spy")
    all_cells = cells.cells(quick=False)
    by_name = {cell.name: cell for cell in all_cells if cell.system == "gomlx"}
    if unknown := [name for name in names if name not in by_name]:
        raise typer.BadParameter(f"no such runs: {unknown}; there are {[*by_name]}")
    rig = Rig(table.load_cores(), seconds)
    with (
        context.obj.opened("SR") as (folder, models),
        services.gomlx(folder / "one", models) as system,
    ):
        for name in names:
            console.print(profiles.profile(rig, system, by_name[name], seconds))


@app.command()
def readme() -> None:
    """Write the tables and the plot again from loadtests/results/table.json."""
    results.save(results.load())


def _need(program: str) -> None:
    if problem := missing(program):
        raise typer.BadParameter(f"needs {problem}")


def _print_goals(lines: list[Line]) -> None:
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
