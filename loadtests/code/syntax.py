"""Measures of syntax trees.

A file's lines, a function's from `def` to its end, an object's fields: what its methods
assign to `self`, or what its class declares. A tuple assignment is `a, b = x, y`;
unpacking what a call returns is none.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import PurePosixPath

Trees = dict[str, ast.Module]  # by the paths of their files
Function = ast.FunctionDef | ast.AsyncFunctionDef
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


@dataclass(frozen=True)
class Measured:
    """A number, and the place where it was measured."""

    value: int
    place: str


def folders(paths: Iterable[str]) -> list[Measured]:
    """Return the number of files in each folder."""
    parents = [str(PurePosixPath(path).parent) for path in paths]
    return [Measured(parents.count(one), one) for one in dict.fromkeys(parents)]


def lengths(trees: Trees) -> list[Measured]:
    """Return the lines of each function."""
    return [Measured(_length(node), place) for node, place in _functions(trees)]


def complexities(trees: Trees) -> list[Measured]:
    """Return the cyclomatic complexity of each function."""
    return [Measured(_complexity(node), place) for node, place in _functions(trees)]


def objects(trees: Trees) -> list[Measured]:
    """Return the number of fields of each class."""
    return [
        Measured(_fields(node), f"{path}:{node.name}")
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    ]


def tuples(trees: Trees) -> list[Measured]:
    """Return the number of tuple assignments in each file."""
    return [Measured(_tuples(tree), path) for path, tree in trees.items()]


def documented(trees: Trees) -> list[Measured]:
    """Return for each module, public class and public function: 1 or 0."""
    found: list[Measured] = []
    for path, tree in trees.items():
        if tree.body:
            found.append(_has_docstring(tree, path))
        found += _documented_below(tree, path)
    return found


def _functions(trees: Trees) -> Iterator[tuple[Function, str]]:
    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield node, f"{path}:{node.name}"


def _length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def _complexity(function: Function) -> int:
    """Return McCabe's measure: one more than the branches; `and` and `or` are some."""
    nodes = [*ast.walk(function)]
    boolean = sum(len(n.values) - 1 for n in nodes if isinstance(n, ast.BoolOp))
    return 1 + boolean + sum(isinstance(node, _BRANCHES) for node in nodes)


def _fields(node: ast.ClassDef) -> int:
    return len({*chain(_declared(node), _assigned(node))})


def _declared(node: ast.ClassDef) -> Iterator[str]:
    for one in node.body:
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            yield one.target.id


def _assigned(node: ast.ClassDef) -> Iterator[str]:
    for one in ast.walk(node):
        if isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
            if isinstance(one.value, ast.Name) and one.value.id == "self":
                yield one.attr


def _tuples(tree: ast.Module) -> int:
    return sum(
        isinstance(node, ast.Assign)
        and isinstance(node.value, ast.Tuple)
        and any(isinstance(target, ast.Tuple) for target in node.targets)
        for node in ast.walk(tree)
    )


def _documented_below(node: ast.Module | ast.ClassDef, path: str) -> Iterator[Measured]:
    for one in node.body:
        if isinstance(one, ast.ClassDef | Function) and not one.name.startswith("_"):
            yield _has_docstring(one, f"{path}:{one.name}")
            if isinstance(one, ast.ClassDef):
                yield from _documented_below(one, path)


def _has_docstring(node: ast.Module | ast.ClassDef | Function, place: str) -> Measured:
    return Measured(int(ast.get_docstring(node) is not None), place)
