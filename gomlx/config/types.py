"""Checks a document against the types, bounds and keys that a struct declares."""

from collections.abc import Mapping
from types import UnionType
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Struct

from gomlx.config.problem import Problem, Problems, nearest
from gomlx.config.yaml import YamlDocument, below
from gomlx.errors import excerpt
from gomlx.runtime.masking import masked

_SECTIONS_WITH_PASSWORDS = ("connections", "endpoint")


def type_problems(struct: type[Struct], document: YamlDocument) -> Problems:
    """Yield every unknown, repeated or missing key, and every wrong type or bound."""
    if not isinstance(document.data, dict):
        yield Problem("", "expected keys such as `models:`")
        return
    yield from document.problems
    yield from _struct_problems(struct, document.data, "")


def _struct_problems(struct: type[Struct], data: Any, path: str) -> Problems:
    if not isinstance(data, dict):
        yield Problem.at(path, f"expected keys and values, got {_shown(data, path)}")
        return
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    yield from _unknown_keys(data, [*fields], path)
    for name, field in fields.items():
        where = below(path, name)
        if name in data:
            yield from _value_problems(field.type, data[name], where)
        elif field.required:
            yield Problem(path, f"{where}: missing")


def _unknown_keys(data: Mapping[Any, Any], known: list[str], path: str) -> Problems:
    for key in data:
        if key not in known:
            hint = nearest(str(key), known, f"known are: {', '.join(known)}")
            yield Problem.at(below(path, key), f"unknown key; {hint}")


def _value_problems(kind: Any, value: Any, path: str) -> Problems:
    bare = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    (element, *_) = get_args(bare) or (None,)
    if get_origin(bare) is UnionType and value is not None and is_struct(element):
        bare = element  # an optional section that is given
    if is_struct(bare):
        yield from _struct_problems(bare, value, path)
    elif get_origin(bare) is Literal:
        yield from _literal_problems(get_args(bare), value, path)
    elif is_struct(element) and value:
        yield from _list_problems(element, value, path)
    else:
        yield from _scalar_problems(kind, value, path)


def _literal_problems(choices: tuple[str, ...], value: Any, path: str) -> Problems:
    if value not in choices:
        expected = f"expected one of {', '.join(choices)}"
        yield Problem.at(path, f"{expected}, got {_shown(value, path)}")


def _list_problems(element: type[Struct], value: Any, path: str) -> Problems:
    if not isinstance(value, list):
        yield Problem.at(path, f"expected a list, got {_shown(value, path)}")
        return
    for i, item in enumerate(value):
        yield from _struct_problems(element, item, f"{path}[{i}]")


def _scalar_problems(kind: Any, value: Any, path: str) -> Problems:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        yield Problem.at(path, f"{_lower(str(error))}, got {_shown(value, path)}")


def is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Struct)


def _shown(value: Any, path: str) -> str:
    """Return a value as text, unless it is or holds a password."""
    if path.endswith("password"):
        return "***"
    if isinstance(value, dict | list) and path.startswith(_SECTIONS_WITH_PASSWORDS):
        return "keys and values" if isinstance(value, dict) else "a list"
    return excerpt(masked(repr(value)))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
