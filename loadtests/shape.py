"""What the code looks like in numbers, of one tree or of several side by side.

    python -m loadtests.shape                    # the working tree
    python -m loadtests.shape bc22321 HEAD       # two commits
    python -m loadtests.shape --worst            # and where each number comes from

A file's lines, a function's from `def` to its end, an object's fields: what its methods
assign to `self`, or what its class declares. Structs whose fields are the options of
users (config/schema.py, client/options.py) have a row of their own. A tuple assignment
is `a, b = x, y`; to take apart what a call returns is none.
"""

import ast
import io
import subprocess
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES = (
    ast.If,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.IfExp,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)
_OPTIONS = ("gomlx/config.py", "gomlx/config/schema.py", "gomlx/client/options.py")
_LONG_LINES = 40


@dataclass(frozen=True)
class Measured:
    """One number and the place that it was read at."""

    value: int
    place: str


@dataclass(frozen=True)
class Shape:
    """The measures of one tree."""

    folders: Sequence[Measured]
    files: Sequence[Measured]
    functions: Sequence[Measured]
    complexities: Sequence[Measured]
    objects: Sequence[Measured]
    options: Sequence[Measured]
    tuples: Sequence[Measured]  # tuple assignments a file
    cycles: Sequence[Measured]  # modules a cycle
    documented: Sequence[Measured]  # 1 or 0: modules, public classes and functions

    @property
    def lines(self) -> int:
        """Of all files."""
        return sum(file.value for file in self.files)


@dataclass
class _Sources:
    """The sources of a tree by their paths, parsed."""

    texts: dict[str, str]
    trees: dict[str, ast.Module] = field(init=False)

    def __post_init__(self) -> None:
        self.trees = {path: ast.parse(text) for path, text in self.texts.items()}


def shape_of(texts: dict[str, str]) -> Shape:
    """Measure a tree; texts: the path of each file, from the root on → its source."""
    sources = _Sources(texts)
    trees = sources.trees
    functions = [*_each(trees, (ast.FunctionDef, ast.AsyncFunctionDef))]
    classes = [*_each(trees, (ast.ClassDef,))]
    objects = [Measured(_fields(node), place) for node, place in classes]
    return Shape(
        folders=_folders(texts),
        files=[Measured(len(t.splitlines()), path) for path, t in texts.items()],
        functions=[Measured(_length(node), place) for node, place in functions],
        complexities=[Measured(_complexity(node), place) for node, place in functions],
        objects=[one for one in objects if not one.place.startswith(_OPTIONS)],
        options=[one for one in objects if one.place.startswith(_OPTIONS)],
        tuples=[Measured(_tuples(tree), path) for path, tree in trees.items()],
        cycles=[Measured(len(c), " → ".join(c)) for c in cycles(_imports(trees))],
        documented=[*_documented(trees)],
    )


def cycles(graph: dict[str, list[str]]) -> Iterator[tuple[str, ...]]:
    """Yield each cycle of a directed graph that a walk of it comes upon."""
    done = set[str]()

    def visit(name: str, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        if name in path:
            yield path[path.index(name) :]
        elif name not in done:
            for target in graph.get(name, ()):
                yield from visit(target, (*path, name))
            done.add(name)

    for name in graph:
        yield from visit(name, ())


def _each(
    trees: dict[str, ast.Module], kinds: tuple[type[ast.AST], ...]
) -> Iterator[tuple[ast.AST, str]]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, kinds):
                yield node, f"{path}:{getattr(node, 'name', '')}"


def _length(node: ast.AST) -> int:
    return int(vars(node)["end_lineno"]) - int(vars(node)["lineno"]) + 1


def _complexity(function: ast.AST) -> int:
    """McCabe's: one more than the branches; each `and` and `or` is one, too."""
    nodes = [*ast.walk(function)]
    boolean = sum(len(n.values) - 1 for n in nodes if isinstance(n, ast.BoolOp))
    return 1 + boolean + sum(isinstance(node, _BRANCHES) for node in nodes)


def _fields(node: ast.AST) -> int:
    assert isinstance(node, ast.ClassDef)
    found = {
        one.target.id
        for one in node.body
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
    }
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
            if isinstance(one.value, ast.Name) and one.value.id == "self":
                found.add(one.attr)
    return len(found)


def _tuples(tree: ast.Module) -> int:
    return sum(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and any(isinstance(target, ast.Tuple) for target in node.targets)
        for node in ast.walk(tree)
    )


def _folders(paths: Iterable[str]) -> list[Measured]:
    parents = [str(PurePosixPath(path).parent) for path in paths]
    return [Measured(parents.count(one), one) for one in dict.fromkeys(parents)]


def _documented(trees: dict[str, ast.Module]) -> Iterator[Measured]:
    for path, tree in trees.items():
        if tree.body:
            yield Measured(int(ast.get_docstring(tree) is not None), path)
        yield from _documented_below(tree, path)


def _documented_below(node: ast.Module | ast.ClassDef, path: str) -> Iterator[Measured]:
    for one in node.body:
        if isinstance(one, ast.ClassDef | _Function) and not one.name.startswith("_"):
            has_docstring = ast.get_docstring(one) is not None
            yield Measured(int(has_docstring), f"{path}:{one.name}")
            if isinstance(one, ast.ClassDef):
                yield from _documented_below(one, path)


def _imports(trees: dict[str, ast.Module]) -> dict[str, list[str]]:
    names = {_module(path): tree for path, tree in trees.items()}
    return {name: [*_targets(tree, names)] for name, tree in names.items()}


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _targets(tree: ast.Module, known: Iterable[str]) -> Iterator[str]:
    """Yield the modules that a file imports, for its types alone too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                target = submodule if submodule in known else node.module
                if target in known:
                    yield target


def in_folder(root: Path, package: str) -> dict[str, str]:
    """Read the sources below a package of a folder."""
    files = sorted((root / package).rglob("*.py"))
    return {str(file.relative_to(root)): file.read_text() for file in files}


def in_commit(commit: str, package: str) -> dict[str, str]:
    """Read the sources below a package as they are in a commit."""
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
        list[str] | None, typer.Argument(help="Commits; none: the working tree.")
    ] = None,
    package: Annotated[str, typer.Option(help="The folder to measure.")] = "gomlx",
    worst: Annotated[bool, typer.Option("--worst", help="Show places, too.")] = False,
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
