"""YAML text → data, and all in it that does not fit a struct's types, with its line."""

import difflib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import yaml
from msgspec import Struct

from gomlx.config.masking import masked
from gomlx.errors import ConfigInvalid, excerpt

_MAX_NODES = 20_000
_SECRETIVE = ("connections", "endpoint")  # may hold passwords


class YamlDocument(NamedTuple):
    """A YAML file: its data, and the lines of its values by their paths."""

    data: Any
    lines: Mapping[str, int]
    repeated: tuple[str, ...]  # paths of keys given twice: YAML would take the last

    def located(self, path: str, problem: str) -> str:
        """Return a problem with the line it stands in, if there is one."""
        line = self.lines.get(path)
        return problem if line is None else f"line {line}: {problem}"


def read(path: Path) -> YamlDocument:
    """Read a YAML file. Raises ConfigInvalid."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigInvalid(str(path), [str(error)]) from None
    try:
        nodes = _walk(yaml.compose(text, yaml.SafeLoader))
        lines: dict[str, int] = {}
        repeated = []
        for where, node in nodes:
            if where in lines:
                repeated.append(where)
            lines[where] = node.start_mark.line + 1
        return YamlDocument(yaml.safe_load(text), lines, tuple(repeated))
    except (yaml.YAMLError, ValueError, AttributeError, RecursionError) as error:
        # PyYAML's own constructors raise these for `!!int b`, 2024-13-45, …
        raise ConfigInvalid(str(path), [f"not YAML: {_described(error)}"]) from None


def type_problems(
    struct: type[Struct], document: YamlDocument
) -> Iterator[tuple[str, str]]:
    """Yield (path, message) of everything that is not as a struct declares it."""
    if not isinstance(document.data, dict):
        yield "", "expected keys such as `models:`"
        return
    for where in document.repeated:
        yield where, f"{where}: given more than once"
    yield from _struct_problems(struct, document.data, "")


def nearest(name: str, known: list[str], otherwise: str) -> str:
    """Return a hint: the known name most like one that is not."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else otherwise


def _struct_problems(
    struct: type[Struct], data: Any, path: str
) -> Iterator[tuple[str, str]]:
    if not isinstance(data, dict):
        yield path, f"{path}: expected keys and values, got {_shown(data, path)}"
        return
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for key in [key for key in data if key not in fields]:
        where = _below(path, key)
        hint = nearest(str(key), [*fields], f"known are: {', '.join(fields)}")
        yield where, f"{where}: unknown key; {hint}"
    for name, field in fields.items():
        where = _below(path, name)
        if name in data:
            yield from _value_problems(field.type, data[name], where)
        elif field.required:
            yield path, f"{where}: missing"


def _value_problems(kind: Any, value: Any, path: str) -> Iterator[tuple[str, str]]:
    inner = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    (element, *_) = get_args(inner) or (None,)
    if get_origin(inner) is UnionType and _is_struct(element) and value is not None:
        inner = element
    if _is_struct(inner):
        yield from _struct_problems(inner, value, path)
        return
    if get_origin(inner) is Literal and value not in get_args(inner):
        choices = ", ".join(get_args(inner))
        yield path, f"{path}: expected one of {choices}, got {_shown(value, path)}"
        return
    if _is_struct(element) and value:
        if not isinstance(value, list):
            yield path, f"{path}: expected a list, got {_shown(value, path)}"
            return
        for i, item in enumerate(value):
            yield from _struct_problems(element, item, f"{path}[{i}]")
        return
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield path, f"{path}: {_lower(str(error))}, got {_shown(value, path)}"


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _walk(node: yaml.Node | None) -> list[tuple[str, yaml.Node]]:
    """Every node below one, with its path. Raises ValueError if there are too many."""
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
            yield _below(path, getattr(key, "value", "")), value
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            yield f"{path}[{i}]", value


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _shown(value: Any, path: str) -> str:
    """Return a value as text, unless it is or holds a password."""
    if path.endswith("password"):
        return "***"
    if isinstance(value, dict | list) and path.startswith(_SECRETIVE):
        return "keys and values" if isinstance(value, dict) else "a list"
    return excerpt(masked(repr(value)))


def _described(error: Exception) -> str:
    """Return what is wrong and where, without the line, which may hold a password."""
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return str(error)
    mark = error.problem_mark
    return f"{error.problem}, line {mark.line + 1}, column {mark.column + 1}"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
