"""A user's function over every answer: its result is cached and served instead.

    transformer(inputs, outputs) -> any value that JSON can hold

inputs: the values of the canonical row, auxiliary inputs included. outputs: those of
the model, as the response would hold them. NaN and the infinities in the result are
written as the strings that stand for them in outputs.

The file that holds the function is part of the version: staging copies it, and workers
run the copy, even after the file changes. What the function imports or reads is not
part of it: that is looked up when a worker loads the version.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import orjson

from gomlx.contract.tensor import Row, Tensor
from gomlx.errors import StageFailed, TransformFailed
from gomlx.models.version import ModelVersion

_FOLDER = "transformer"  # of a staged version
_PACKAGE = "__init__.py"


class Transformer:
    """The transformer of one version. fields: of its signature, in row order.

    Raises StageFailed.
    """

    def __init__(
        self, reference: str, version: ModelVersion, fields: Sequence[Tensor]
    ) -> None:
        self._reference = reference
        self._model = version.name
        self._fields = fields
        self._function = _load(reference, version)

    def __call__(self, rows: Sequence[Row], answers: list[bytes]) -> list[bytes]:
        """Return each row's new answer, as JSON. Raises TransformFailed."""
        try:
            return [
                _to_json(self._function(self._inputs(row), orjson.loads(answer)))
                for row, answer in zip(rows, answers, strict=True)
            ]
        except Exception as error:
            raise TransformFailed(self._model, self._reference, error) from error

    def _inputs(self, row: Row) -> dict[str, Any]:
        pairs = zip(self._fields, row, strict=True)
        return {tensor.name: tensor.nested(value) for tensor, value in pairs}


class Code(NamedTuple):
    """The source file of a transformer; an empty name stands for none."""

    name: str = ""
    data: bytes = b""

    @property
    def digest(self) -> str:
        """The digest of its content: other code may give other answers."""
        return blake2b(self.data, digest_size=16).hexdigest() if self.name else ""

    def write(self, directory: Path) -> None:
        """Write it to the place in a staged version where workers look for it."""
        if self.name:
            (directory / _FOLDER).mkdir()
            (directory / _FOLDER / self.name).write_bytes(self.data)


NO_CODE = Code()


def code(reference: str, model: str) -> Code:
    """Read the file that holds a transformer. Raises StageFailed."""
    if not reference:
        return NO_CODE
    module = reference.partition(":")[0]
    try:
        spec = find_spec(module)
        path = Path((spec.origin if spec else None) or module)
        data = path.read_bytes() if path.suffix == ".py" else None
    except Exception as error:
        raise _unusable(reference, model, f"{type(error).__name__}: {error}") from error
    if data is None:
        raise _unusable(reference, model, f"module {module!r} has no Python file")
    return Code(path.name, data)


def _load(
    reference: str, version: ModelVersion
) -> Callable[[dict[str, Any], Any], Any]:
    """Return the function, from a module that belongs to this version only."""
    module, _, name = reference.partition(":")
    try:
        function = getattr(_imported(module, version), name)
    except Exception as error:  # whatever a module does when it is imported
        problem = f"{type(error).__name__}: {error}"
        raise _unusable(reference, version.name, problem) from error
    if not callable(function):
        raise _unusable(reference, version.name, f"{name!r} is not a function")
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


def _to_json(value: Any) -> bytes:
    text = orjson.dumps(value)
    # A null may stand for a non-finite float, which orjson cannot write otherwise.
    return orjson.dumps(_with_words(value)) if b"null" in text else text


def _with_words(value: Any) -> Any:
    """Return a value with strings in place of its non-finite floats."""
    if is_dataclass(value) and not isinstance(value, type):
        value = _public_fields(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _word(value)
    if isinstance(value, dict):
        return {name: _with_words(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_with_words(part) for part in value]
    return value


def _public_fields(value: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that orjson writes."""
    names = [f.name for f in fields(value) if not f.name.startswith("_")]
    return {name: getattr(value, name) for name in names}


def _word(value: float) -> str:
    return "NaN" if math.isnan(value) else f"{value}".replace("inf", "Infinity")
