"""Files of a model, damaged: bytes of any of them, values within a graph."""

import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from loadtests.fuzz.cases import cut

_NUMBERS = (0, 1, -1, 2, 3, 7, 255, 1 << 20, (1 << 31) - 1, (1 << 63) - 1)
_FLOATS = (0.0, -1.0, 1e38, float("inf"), float("nan"))
_DEEPER = 0.9
_OF_MESSAGES = 8  # how much likelier to be chosen than other fields


def damage(folder: Path, rng: random.Random) -> str:
    """Damage the files of a model, and return what was done."""
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        graphs = [path for path in files if path.name == "saved_model.pb"]
        if graphs and rng.random() < 0.5:
            done.append(_change_graph(rng.choice(graphs), rng))
        elif files:
            path = rng.choice(files)
            done.append(f"{path.relative_to(folder)} {_change_file(path, rng)}")
    return "; ".join(done)


def _change_file(path: Path, rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.05:
        path.unlink()
        return "is removed"
    if kind < 0.1:
        path.write_bytes(b"")
        return "is empty"
    if path.suffix == ".keras" and kind < 0.8:
        return _change_archive(path, rng)
    path.write_bytes(cut(path.read_bytes(), rng))
    return "is cut"


def _change_archive(path: Path, rng: random.Random) -> str:
    """Change bytes of a file within an archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
    except (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError):
        return "was no archive any more"
    name = rng.choice(sorted(files))
    files[name] = cut(files[name], rng)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for one, data in files.items():
            archive.writestr(one, data)
    path.write_bytes(buffer.getvalue())
    return f"has another {name}"


def _change_graph(path: Path, rng: random.Random) -> str:
    """Change one value of a SavedModel that can be parsed."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    saved = SavedModel()
    try:
        saved.ParseFromString(path.read_bytes())
    except DecodeError:
        return "saved_model.pb could not be parsed"
    what = _change_message(saved, rng)
    path.write_bytes(saved.SerializeToString())
    return what


def _change_message(message: Any, rng: random.Random, where: str = "") -> str:
    """Go down into a message at random, and change what is found."""
    fields = message.ListFields()
    if not fields:
        return f"{where} is empty"
    weights = [_OF_MESSAGES if field.message_type else 1 for field, _ in fields]
    ((field, value),) = rng.choices(fields, weights)
    where = f"{where}.{field.name}"
    if field.message_type and field.message_type.GetOptions().map_entry:
        return _change_map(field, value, rng, where)
    if field.is_repeated:
        return _change_list(field, value, rng, where)
    if field.message_type:
        if rng.random() < _DEEPER:
            return _change_message(value, rng, where)
        message.ClearField(field.name)
        return f"{where} is cleared"
    setattr(message, field.name, _other(field, value, rng))
    return f"{where}: {value!r:.40} is {getattr(message, field.name)!r:.40}"


def _change_map(field: Any, value: Any, rng: random.Random, where: str) -> str:
    key = rng.choice(sorted(value))
    where = f"{where}[{key!r:.40}]"
    is_message = field.message_type.fields_by_name["value"].message_type
    if is_message and rng.random() < _DEEPER:
        return _change_message(value[key], rng, where)
    del value[key]
    return f"{where} is removed"


def _change_list(field: Any, value: Any, rng: random.Random, where: str) -> str:
    place = rng.randrange(len(value))
    where = f"{where}[{place}]"
    if field.message_type and rng.random() < _DEEPER:
        return _change_message(value[place], rng, where)
    other = rng.randrange(len(value))
    kind = rng.randrange(4)
    if kind == 0 and not field.message_type:
        value[place] = _other(field, value[place], rng)
        return f"{where} is {value[place]!r:.40}"
    if kind == 1:
        value.extend([value[place]])
        return f"{where} is repeated"
    if kind == 2 and field.message_type:
        value[place].CopyFrom(value[other])
        return f"{where} is that of {other}"
    del value[place]
    return f"{where} is removed"


def _other(field: Any, value: Any, rng: random.Random) -> Any:
    """Return another value for a field that is no message; one that may not fit."""
    if field.enum_type:
        return rng.choice(field.enum_type.values).number
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return _text(value, rng)
    if isinstance(value, bytes):
        return cut(value, rng)
    if isinstance(value, float):
        return rng.choice(_FLOATS)
    bits = 63 if field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_UINT64) else 31
    number = rng.choice((*_NUMBERS, value + 1, value - 1))
    is_signed = field.cpp_type in (field.CPPTYPE_INT64, field.CPPTYPE_INT32)
    least = -(1 << bits) if is_signed else 0
    return max(least, min(number, (1 << bits) - 1))


def _text(text: str, rng: random.Random) -> str:
    changes: tuple[Callable[[], str], ...] = (
        lambda: "",
        lambda: text + text,
        lambda: text[:-1],
        lambda: text + ":1",
        lambda: "^" + text,
        lambda: "../" + text,
        text.swapcase,
        lambda: text[: len(text) // 2] + "\u00fc\0" + text[len(text) // 2 :],
    )
    return rng.choice(changes)()
