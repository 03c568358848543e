"""YAML text → data, and where each value is from.

`${NAME}` in a value is the environment's, `${NAME:-default}` has a default, and `$${`
is a plain `${`. Where the value is not quoted, the result is read as YAML reads a
scalar: it may be a number. What the environment holds is never more than one scalar.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from gomlx.config.problem import Problem
from gomlx.errors import ConfigInvalid

_MAX_NODES = 20_000
# PyYAML's own constructors raise the others for `!!int b`, 2024-13-45, …
_ERRORS = (yaml.YAMLError, ValueError, AttributeError, RecursionError)
_VARIABLE = re.compile(r"\$?\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


class YamlDocument(NamedTuple):
    """A YAML file: its data, and the place of each value by the value's path.

    problems: keys that are given more than once, of which YAML would use the last, and
    variables that the environment does not have.
    """

    data: Any
    places: Mapping[str, str]
    problems: tuple[Problem, ...] = ()

    def located(self, problem: Problem) -> str:
        """Return a problem's message with its place, if the path has one."""
        place = self.places.get(problem.path)
        return problem.message if place is None else f"{place}: {problem.message}"


def read_yaml(path: Path, environment: Mapping[str, str]) -> YamlDocument:
    """Read a YAML file. Raises ConfigInvalid."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(str(path), [str(error)]) from None
    try:
        return _parsed(text, environment)
    except _ERRORS as error:
        raise ConfigInvalid(str(path), [f"not YAML: {_described(error)}"]) from None


def parsed_value(text: str) -> Any:
    """Return what YAML reads in a text, or the text itself where that is none."""
    try:
        return yaml.safe_load(text)
    except _ERRORS:
        return text


def below(path: str, key: Any) -> str:
    """Return the path of a key in the mapping at a path."""
    return f"{path}.{key}" if path else str(key)


def _parsed(text: str, environment: Mapping[str, str]) -> YamlDocument:
    loader = yaml.SafeLoader(text)
    try:
        root = loader.get_single_node()
        places: dict[str, str] = {}
        problems: list[Problem] = []
        expanded: dict[int, list[str]] = {}  # an alias leads to a node again
        for where, node in _walk(root):
            if where in places:
                problems.append(Problem.at(where, "given more than once"))
            places[where] = f"line {node.start_mark.line + 1}"
            if isinstance(node, yaml.ScalarNode) and id(node) not in expanded:
                expanded[id(node)] = _expand(node, loader, environment)
                reasons = expanded[id(node)]
                problems += [Problem.at(where, reason) for reason in reasons]
        data = None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()
    return YamlDocument(data, places, tuple(problems))


def _expand(
    node: yaml.ScalarNode, loader: yaml.SafeLoader, environment: Mapping[str, str]
) -> list[str]:
    """Put variables into a value; return what is wrong with them."""
    reasons: list[str] = []

    def value_of(found: re.Match[str]) -> str:
        name, default = found.groups()
        if found.group().startswith("$$"):
            return found.group()[1:]
        value = environment.get(name) or default
        if value is None:
            reasons.append(_unset(name, is_empty=name in environment))
        return value or ""

    before = node.value
    node.value = _VARIABLE.sub(value_of, before)
    if node.value != before and node.style is None:  # not quoted
        implicit = (True, False)
        node.tag = loader.resolve(yaml.ScalarNode, node.value, implicit)  # type: ignore[no-untyped-call]
    return reasons


def _unset(name: str, is_empty: bool) -> str:
    state = "is empty" if is_empty else "is not set"
    return f"the variable {name} {state}; ${{{name}:-…}} would have a default"


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
