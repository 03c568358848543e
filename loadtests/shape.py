"""What the code looks like in numbers, of one tree or of several side by side.

    python -m loadtests.shape                    # the working tree
    python -m loadtests.shape bc22321 HEAD       # two commits
    python -m loadtests.shape --worst            # and where each number comes from

Structs whose fields are the options of users (config/schema.py, client/options.py) have
a row of their own.
"""

import ast
import io
import subprocess
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtests.code import syntax
from loadtests.code.imports import cycles
from loadtests.code.syntax import Measured

_OPTIONS = ("gomlx/config.py", "gomlx/config/schema.py", "gomlx/client/options.py")
_LONG_LINES = 40


@dataclass(frozen=True)
class Shape:
    """The measures of one tree."""

    folders: Sequence[Measured]
    files: Sequence[Measured]
    functions: Sequence[Measured]
    complexities: Sequence[Measured]
    objects: Sequence[Measured]
    options: Sequence[Measured]
    tuples: Sequence[Measured]
    cycles: Sequence[Measured]
    documented: Sequence[Measured]

    @property
    def lines(self) -> int:
        """Return the lines of all files."""
        return sum(file.value for file in self.files)


def shape_of(texts: dict[str, str]) -> Shape:
    """Measure a tree. texts: the sources by path, from the root on."""
    trees = {path: ast.parse(text) for path, text in texts.items()}
    objects = syntax.objects(trees)
    return Shape(
        folders=syntax.folders(texts),
        files=[Measured(len(t.splitlines()), path) for path, t in texts.items()],
        functions=syntax.lengths(trees),
        complexities=syntax.complexities(trees),
        objects=[one for one in objects if not one.place.startswith(_OPTIONS)],
        options=[one for one in objects if one.place.startswith(_OPTIONS)],
        tuples=syntax.tuples(trees),
        cycles=cycles(trees),
        documented=syntax.documented(trees),
    )


def in_folder(root: Path, package: str) -> dict[str, str]:
    """Read the sources of a package in a folder, by path."""
    files = sorted((root / package).rglob("*.py"))
    return {str(file.relative_to(root)): file.read_text() for file in files}


def in_commit(commit: str, package: str) -> dict[str, str]:
    """Read the sources of a package in a commit, by path."""
    command = ["git", "archive", "--format=tar", commit, package]
    done = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        members = [one for one in archive.getmembers() if one.name.endswith(".py")]
        opened = ((one.name, archive.extractfile(one)) for one in members)
        return {name: file.read().decode() for name, file in opened if file}


def _most(measured: Sequence[Measured]) -> str:
    return str(max((one.value for one in measured), default=0))


def _quantile(measured: Sequence[Measured], share: float) -> str:
    values = sorted(one.value for one in measured)
    return str(values[int(share * len(values))])


def _middle(measured: Sequence[Measured]) -> str:
    return f"{median(one.value for one in measured):.0f}"


def _long(shape: Shape) -> str:
    return str(sum(one.value > _LONG_LINES for one in shape.functions))


def _tuples_a_thousand(shape: Shape) -> str:
    return f"{1000 * sum(one.value for one in shape.tuples) / shape.lines:.2f}"


def _documented_share(shape: Shape) -> str:
    values = [one.value for one in shape.documented]
    return f"{100 * sum(values) / len(values):.0f} %"


ROWS: dict[str, Callable[[Shape], str]] = {
    "files": lambda shape: str(len(shape.files)),
    "lines": lambda shape: str(shape.lines),
    "files a folder: most": lambda shape: _most(shape.folders),
    "lines a file: median": lambda shape: _middle(shape.files),
    "lines a file: most": lambda shape: _most(shape.files),
    "functions": lambda shape: str(len(shape.functions)),
    "lines a function: median": lambda shape: _middle(shape.functions),
    "lines a function: p90": lambda shape: _quantile(shape.functions, 0.9),
    "lines a function: p99": lambda shape: _quantile(shape.functions, 0.99),
    "functions over 40 lines": _long,
    "fields an object: most": lambda shape: _most(shape.objects),
    "fields an object: over 10": lambda shape: str(
        sum(one.value > 10 for one in shape.objects)
    ),
    "options a section of users' settings: most": lambda shape: _most(shape.options),
    "cyclomatic complexity: p90": lambda shape: _quantile(shape.complexities, 0.9),
    "cyclomatic complexity: most": lambda shape: _most(shape.complexities),
    "tuple assignments per 1,000 lines": _tuples_a_thousand,
    "import cycles": lambda shape: str(len(shape.cycles)),
    "docstrings: modules and what is public": _documented_share,
}


def _print_worst(console: Console, shape: Shape) -> None:
    for name, measured in {
        "files a folder": shape.folders,
        "lines a file": shape.files,
        "lines a function": shape.functions,
        "fields an object": shape.objects,
        "complexity": shape.complexities,
        "tuple assignments": shape.tuples,
        "cycles": shape.cycles,
    }.items():
        console.print(f"\n[bold]{name}")
        for one in sorted(measured, key=lambda one: -one.value)[:12]:
            console.print(f"{one.value:6} {one.place}", highlight=False)


def main(
    commits: Annotated[
        list[str] | None, typer.Argument(help="Commits; default: the working tree.")
    ] = None,
    package: Annotated[str, typer.Option(help="The folder to measure.")] = "gomlx",
    worst: Annotated[bool, typer.Option("--worst", help="Show where, too.")] = False,
) -> None:
    """Measure the shape of the code."""
    console = Console(width=None if Console().is_terminal else 110)
    if commits:
        shapes = {one: shape_of(in_commit(one, package)) for one in commits}
    else:
        shapes = {"now": shape_of(in_folder(Path(), package))}
    table = Table("", *shapes)
    for name, read in ROWS.items():
        table.add_row(name, *(read(shape) for shape in shapes.values()))
    console.print(table)
    if worst:
        _print_worst(console, [*shapes.values()][-1])


if __name__ == "__main__":
    typer.run(main)
