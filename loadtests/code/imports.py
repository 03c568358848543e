"""The imports between the modules of a tree, and the cycles among them."""

import ast
from collections.abc import Iterable, Iterator

from loadtests.code.syntax import Measured, Trees

Graph = dict[str, list[str]]  # a module → those that it imports


def cycles(trees: Trees) -> list[Measured]:
    """Return the number of modules in each import cycle."""
    found = cycles_of(_imports(trees))
    return [Measured(len(cycle), " → ".join(cycle)) for cycle in found]


def cycles_of(graph: Graph) -> Iterator[tuple[str, ...]]:
    """Yield the cycles of a directed graph that a walk of it meets."""
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


def _imports(trees: Trees) -> Graph:
    names = {_module(path): tree for path, tree in trees.items()}
    return {name: [*_targets(tree, names)] for name, tree in names.items()}


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _targets(tree: ast.Module, modules: Iterable[str]) -> Iterator[str]:
    """Yield those of the modules that a file imports, also if for types only."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                target = submodule if submodule in modules else node.module
                if target in modules:
                    yield target
