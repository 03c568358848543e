"""The cost of hits and misses beside that of another commit, in one run.

    python -m loadtests.against COMMIT

Three services alternate on the first core: A and A2 of this tree, and B of the commit.
The difference of A and A2 is the noise of the run; only a larger difference counts.
"""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtests.bench import cells
from loadtests.bench.measure import Rig
from loadtests.bench.table import load_cores
from loadtests.load import ranking, services
from loadtests.load.services import System

_CELLS = [
    cells.Cell("", model, hits, connections)
    for model, hits in (("S", 1.0), ("S", 0.0), ("R", 0.0))
    for connections in (1, 16, 64)
]
Costs = Mapping[str, list[float]]  # us CPU a request, by system; a value a round


@contextmanager
def checkout(commit: str, tree: Path) -> Iterator[Path]:
    """Check a commit out into a folder that is removed at the end."""
    git = ["git", "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", tree, commit], check=True)
    try:
        yield tree
    finally:
        subprocess.run([*git, "remove", "--force", tree], check=True)


@contextmanager
def started(commit: str, work: Path) -> Iterator[list[System]]:
    """Start A, A2 and B. work: the folder of models, which are built once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        built = ranking.build(work.resolve())
        models = {name: built[name] for name in "SR"}
        there = stack.enter_context(checkout(commit, folder / "tree"))
        here = Path(__file__).parents[1]
        yield [
            stack.enter_context(services.gomlx(folder / name, models, name, tree=tree))
            for name, tree in (("A", here), ("A2", here), ("B", there))
        ]


def measure(
    rig: Rig, systems: Sequence[System], rounds: int
) -> Iterator[tuple[str, Costs]]:
    """Yield the costs of each cell. Each round begins with another system."""
    for cell in _CELLS:
        costs: dict[str, list[float]] = {system.name: [] for system in systems}
        for system in systems if cell.hits else ():
            system.warm(cells.traffic(system, cell))
        for n in range(rounds):
            first = n % len(systems)
            for system in [*systems[first:], *systems[:first]]:
                run = cells.measured_once(rig, system, cell)
                costs[system.name].append(run.cpu_us)
        yield cell.name, costs


def ratios(costs: Costs, one: str, other: str) -> str:
    """Return the median, the least and the greatest of the rounds' ratios."""
    found = [a / b for a, b in zip(costs[one], costs[other], strict=True)]
    return f"{median(found):.3f} ({min(found):.2f} to {max(found):.2f})"


def main(
    commit: Annotated[str, typer.Argument(help="The commit to compare with.")],
    rounds: Annotated[int, typer.Option(min=1, help="Number of rounds.")] = 7,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of a run.")] = 2,
    work: Annotated[Path, typer.Option(help="Folder of models.")] = Path(".loadtests"),
) -> None:
    """Compare the CPU of hits and misses with that of another commit."""
    shown = Table("us CPU a request", "A", "B", "A / B", "noise: A / A2")
    with started(commit, work) as systems:
        for name, costs in measure(Rig(load_cores(), seconds), systems, rounds):
            middle = [f"{median(costs[which]):.1f}" for which in ("A", "B")]
            pairs = (("A", "B"), ("A", "A2"))
            shown.add_row(name.strip(), *middle, *(ratios(costs, *p) for p in pairs))
    Console(width=110).print(shown)


if __name__ == "__main__":
    typer.run(main)
