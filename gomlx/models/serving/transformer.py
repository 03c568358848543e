"""A user's function over every answer: what it returns is cached and answered.

    transformer(inputs, outputs) -> anything that JSON holds

inputs are those of the canonical row, the auxiliary ones among them; outputs are the
model's, as the response would hold them. NaN and the infinities in what it returns
become the words that stand for them in outputs.

The file that holds the function is part of the version: staging copies it, and workers
run the copy, whatever becomes of the file. What it imports or reads is not: it is found
where it lies when a worker loads the version.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import orjson

from gomlx.contract.tensor import Block, Row, Scalar, Value
from gomlx.errors import StageFailed, TransformFailed
from gomlx.models.version import ModelVersion

_FOLDER = "transformer"  # of a staged version
_PACKAGE = "__init__.py"


class Transformer:
    """One model's transformer; without a reference, answers stay as they are."""

    def __init__(
        self, reference: str, version: ModelVersion, names: Sequence[str]
    ) -> None:
        self._reference, self._model, self._names = reference, version.name, names
        self._function = _load(reference, version) if reference else None

    def __call__(self, rows: Sequence[Row], answers: list[bytes]) -> list[bytes]:
        """Return what to answer for each row. Raises TransformFailed."""
        if self._function is None:
            return answers
        try:
            return [
                _dumped(self._function(self._inputs(row), orjson.loads(answer)))
                for row, answer in zip(rows, answers, strict=True)
            ]
        except Exception as error:
            raise TransformFailed(self._model, self._reference, error) from error

    def _inputs(self, row: Row) -> dict[str, Any]:
        return {n: plain(v) for n, v in zip(self._names, row, strict=True)}


class Code(NamedTuple):
    """The file that holds a transformer; without a name, there is none."""

    name: str = ""
    data: bytes = b""

    @property
    def digest(self) -> str:
        """Of what is in it: other code may answer otherwise."""
        return blake2b(self.data, digest_size=16).hexdigest() if self.name else ""

    def write(self, directory: Path) -> None:
        """Put it where workers look for it in a staged version."""
        if self.name:
            (directory / _FOLDER).mkdir()
            (directory / _FOLDER / self.name).write_bytes(self.data)


def code(reference: str, model: str) -> Code:
    """Read the file that holds a transformer. Raises StageFailed."""
    if not reference:
        return Code()
    module = reference.partition(":")[0]
    try:
        spec = find_spec(module)
        path = Path((spec.origin if spec else None) or module)
        data = path.read_bytes() if path.suffix == ".py" else None
    except Exception as error:
        raise _unusable(reference, model, f"{type(error).__name__}: {error}") from error
    if data is None:
        raise _unusable(reference, model, f"no file of Python for module {module!r}")
    return Code(path.name, data)


def _load(
    reference: str, version: ModelVersion
) -> Callable[[dict[str, Any], Any], Any]:
    """Return the function, of a module that no other version has."""
    module, _, name = reference.partition(":")
    try:
        function = getattr(_imported(module, version), name)
    except Exception as error:  # whatever a module does when it is imported
        problem = f"{type(error).__name__}: {error}"
        raise _unusable(reference, version.name, problem) from error
    if not callable(function):
        raise _unusable(reference, version.name, f"{name!r} is no function")
    return function  # type: ignore[no-any-return]  # a user's function


def _imported(name: str, version: ModelVersion) -> ModuleType:
    """Run the copy as a module beside the original, so that relative imports work."""
    (path,) = (version.directory / _FOLDER).glob("*.py")
    found = find_spec(name) if path.name == _PACKAGE else None
    places = found.submodule_search_locations if found else None
    unique = f"{name}__{version.digest}"
    spec = spec_from_file_location(unique, path, submodule_search_locations=places)
    assert spec is not None and spec.loader is not None  # it ends in .py
    module = module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses and relative imports look there
    spec.loader.exec_module(module)
    return module


def _unusable(reference: str, model: str, problem: str) -> StageFailed:
    return StageFailed(f"model {model!r}: transformer {reference!r}: {problem}")


def _dumped(value: Any) -> bytes:
    """Return JSON; a null may be a number that it has no other form for."""
    text = orjson.dumps(value)
    return orjson.dumps(_worded(value)) if b"null" in text else text


def _worded(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value}".replace("inf", "Infinity")
    if isinstance(value, dict):
        return {name: _worded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_worded(part) for part in value]
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if not f.name.startswith("_")]
        return {name: _worded(getattr(value, name)) for name in names}  # as orjson
    return value


def plain(value: Value) -> Any:
    """Return a value as a question holds it: of more dimensions, nested lists."""
    if isinstance(value, Block):
        return _nested(value.shape, iter(value.leaves))
    return value


def _nested(shape: Sequence[int], leaves: Iterator[Scalar]) -> Any:
    if not shape:
        return next(leaves)
    return [_nested(shape[1:], leaves) for _ in range(shape[0])]
