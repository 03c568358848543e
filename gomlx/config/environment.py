"""Options from the environment: GOMLX_ENDPOINT__PORT=80 is `endpoint: {port: 80}`.

Two underscores part a section from its option. Lists are given as a whole, as YAML:
GOMLX_MODELS='[{id: ranking, url: /models/ranking}]'. Such options replace those of the
file. A name that is no option is an error, as it is in the file.
"""

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Struct

from gomlx.config.problem import Problem, nearest
from gomlx.config.types import is_struct
from gomlx.config.yaml import YamlDocument, below, parsed_value

PREFIX = "GOMLX_"
# Names that are not options of the service.
_OTHERS = ("GOMLX_HOST", "GOMLX_TOKEN")  # of commands that are clients


def overridden(
    document: YamlDocument, struct: type[Struct], environment: Mapping[str, str]
) -> YamlDocument:
    """Return a document with the options of the environment in place of its own."""
    found = {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(PREFIX) and name not in _OTHERS
    }
    data = document.data
    if not found or not isinstance(data, dict | None):
        return document
    data = _copied(data or {})
    places = dict(document.places)
    problems = list(document.problems)
    for name, value in found.items():
        keys = name.removeprefix(PREFIX).lower().split("__")
        kind = _kind_of(struct, keys)
        if kind is None:
            problems.append(Problem("", f"{name}: {_hint(struct, name)}"))
            continue
        path = _set(data, keys, _parsed(kind, value))
        inside = (f"{path}.", f"{path}[")
        places = {k: v for k, v in places.items() if not k.startswith(inside)}
        places[path] = name
    return YamlDocument(data, places, tuple(problems))


def names(struct: type[Struct], above: str = PREFIX) -> Iterator[str]:
    """Yield the name of the environment for each option of a struct."""
    for field in msgspec.structs.fields(struct):
        name = above + field.name.upper()
        section = _section_of(field.type)
        yield name
        if section is not None:
            yield from names(section, f"{name}__")


def _kind_of(struct: type[Struct], keys: list[str]) -> Any:
    """Return the type of an option, or None if there is none of that name."""
    kind: Any = struct
    for key in keys:
        section = _section_of(kind)
        if section is None:
            return None
        fields = {one.name: one.type for one in msgspec.structs.fields(section)}
        if key not in fields:
            return None
        kind = fields[key]
    return kind


def _section_of(kind: Any) -> type[Struct] | None:
    """Return the struct that a type is, or may be; None for types of values."""
    if get_origin(kind) is UnionType:
        (kind, *_) = get_args(kind)
    return kind if is_struct(kind) else None


def _hint(struct: type[Struct], name: str) -> str:
    hint = nearest(name, [*names(struct)], "docs/configuration.md names them all")
    return f"no option has this name; {hint}"


def _parsed(kind: Any, value: str) -> Any:
    """Return a value as its option's type has it: a text as it is, else YAML."""
    kinds = get_args(kind) if get_origin(kind) is UnionType else (kind,)
    bare = [get_args(k)[0] if get_origin(k) is Annotated else k for k in kinds]
    if str in bare:
        return value
    return parsed_value(value)


def _copied(data: Any) -> Any:
    """Return mappings that may be changed: YAML may use one in several places."""
    if isinstance(data, dict):
        return {key: _copied(value) for key, value in data.items()}
    return data


def _set(data: dict[str, Any], keys: list[str], value: Any) -> str:
    """Set an option, making its section if there is none; return its path."""
    *sections, last = keys
    path = ""
    for section in sections:
        path = below(path, section)
        inner = data.get(section)
        if not isinstance(inner, dict):
            data[section] = {}
        data = data[section]
    data[last] = value
    return below(path, last)
