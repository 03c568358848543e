"""YAML text → data, and the line of each value."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gomlx.config.problem import Problem
from gomlx.errors import ConfigInvalid

_MAX_NODES = 20_000


class YamlDocument(NamedTuple):
    """A YAML file: its data, and the line of each value by the value's path.

    repeated: paths of keys that are given more than once. YAML would use the last.
    """

    data: Any
    lines: Mapping[str, int]
    repeated: tuple[str, ...]

    def located(self, problem: Problem) -> str:
        """Return a problem's message with its line, if the path has one."""
        line = self.lines.get(problem.path)
        return problem.message if line is None else f"line {line}: {problem.message}"


def read_yaml(path: Path) -> YamlDocument:
    """Read a YAML file. Raises ConfigInvalid."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(str(path), [str(error)]) from None
    try:
        return _parsed(text)
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        # PyYAML's own constructors raise these for `!!int b`, 2024-13-45, …
        raise ConfigInvalid(str(path), [f"not YAML: {_described(error)}"]) from None


def below(path: str, key: Any) -> str:
    """Return the path of a key in the mapping at a path."""
    return f"{path}.{key}" if path else str(key)


def _parsed(text: str) -> YamlDocument:
    lines: dict[str, int] = {}
    repeated = []
    for where, node in _walk(yaml.compose(text, yaml.SafeLoader)):
        if where in lines:
            repeated.append(where)
        lines[where] = node.start_mark.line + 1
    return YamlDocument(yaml.safe_load(text), lines, tuple(repeated))


def _walk(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    """Return every node below one, with its path. Raises ValueError above a limit."""
    found: list[tuple[str, yaml.Node]] = []
    todo = list(_children(node, ""))
    while todo:
        where, child = todo.pop(0)
        found.append((where, child))
        todo += _children(child, where)
        if len(found) + len(todo) > _MAX_NODES:  # a few aliases can stand for billions
            raise ValueError(f"more than {_MAX_NODES} values")
    return found


def _children(node: yaml.Node | None, path: str) -> Iterator[tuple[str, yaml.Node]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield below(path, getattr(key, "value", "")), value
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield f"{path}[{i}]", value


def _described(error: Exception) -> str:
    """Return what is wrong and where, without the line, which may hold a password."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    mark = error.problem_mark
    return f"{error.problem}, line {mark.line + 1}, column {mark.column + 1}"
