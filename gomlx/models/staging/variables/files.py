"""The files of a version's state: one a value, or a link to an equal one."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import tensorflow as tf

from gomlx.models.serving.weights import SavedState, Variable
from gomlx.models.writing import PIECE_BYTES, FlushedFile


class StateFiles:
    """Writes one file per value into a new folder; their names are 1, 2, 3, …"""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._count = 0

    def write(self, value: Any, kind: str, dtype: str) -> str:
        """Return the name of a new file that holds a value of one of the kinds."""
        path = self._next()
        if kind == "mapped":
            with FlushedFile(path) as file:
                file.write(value.tobytes() if not value.ndim else value.data)
        else:
            proto = tf.make_tensor_proto(value, tf.as_dtype(dtype), value.shape)
            path.write_bytes(proto.SerializeToString())
        return path.name

    def stream(self, pieces: Iterator[bytes], known: Path | None) -> str:
        """Return the name of a new file that holds some pieces, one after the other.

        known: a file that may hold the same. If it does, the new one is a link to it:
        they share memory, and nothing is written.
        """
        path = self._next()
        compared = _compared(pieces, known)
        if known and not compared.differs and _is_linked(path, known):
            return path.name
        with FlushedFile(path) as file:
            if known:
                _copy(known, compared.equal_bytes, file)
            file.write(compared.differs)
            for piece in pieces:
                file.write(piece)
        return path.name

    def _next(self) -> Path:
        self._count += 1
        return self._folder / str(self._count)


class KnownFiles:
    """The variables in files of the versions that are staged, the newest first.

    into: the folder of a model's versions.
    """

    def __init__(self, into: Path) -> None:
        self._files: dict[tuple[str, str, tuple[int, ...]], Path] = {}
        folders = [*into.glob("[!.]*"), *into.glob("[!.]*/signatures/*")]
        for folder in sorted(folders, key=_modified, reverse=True):
            self._add(folder)

    def of(self, variable: Variable, size: int) -> Path | None:
        """Return the file of such a variable, of so many bytes."""
        path = self._files.get(_identity(variable))
        with suppress(OSError):
            if path and path.stat().st_size == size:
                return path
        return None

    def _add(self, folder: Path) -> None:
        try:
            document = json.loads((folder / "servable.json").read_text())
            state = SavedState.from_json(document["state"])
        except (OSError, ValueError, LookupError, TypeError):
            return  # none of ours, or of an older form
        for variable in state.variables:
            path = folder / "weights" / variable.file
            if variable.kind == "mapped":
                self._files.setdefault(_identity(variable), path)


def _identity(variable: Variable) -> tuple[str, str, tuple[int, ...]]:
    return variable.op, variable.dtype, variable.shape


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


class _Compared(NamedTuple):
    """How many bytes are equal, and the first piece that differs; empty: none."""

    equal_bytes: int
    differs: bytes


def _compared(pieces: Iterator[bytes], known: Path | None) -> _Compared:
    if known is None:
        return _Compared(0, next(pieces))
    equal = 0
    with known.open("rb", buffering=0) as other:
        for piece in pieces:
            if other.read(len(piece)) != piece:
                return _Compared(equal, piece)
            equal += len(piece)
    return _Compared(equal, b"")


def _is_linked(path: Path, known: Path) -> bool:
    with suppress(OSError):  # where there are no links
        os.link(known, path)
        return True
    return False


def _copy(source: Path, size: int, file: FlushedFile) -> None:
    """Append so many bytes of another file."""
    with source.open("rb", buffering=0) as other:
        while size:
            piece = other.read(min(size, PIECE_BYTES))
            file.write(piece)
            size -= len(piece)
