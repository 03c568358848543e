"""A user's function over every answer: what it returns is cached and answered.

    transformer(inputs, outputs) -> anything that JSON holds

inputs are those of the canonical row, the auxiliary ones among them; outputs are the
model's, as the response would hold them.
"""

import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import orjson

from gomlx.contract.tensor import Block, Row, Scalar, Value
from gomlx.errors import StageFailed, TransformFailed


class Transformer:
    """One model's transformer; without a reference, answers stay as they are."""

    def __init__(self, reference: str, model: str, names: Sequence[str]) -> None:
        self._reference, self._model, self._names = reference, model, names
        self._function = _load(reference, model) if reference else None

    def __call__(self, rows: Sequence[Row], answers: list[bytes]) -> list[bytes]:
        """Return what to answer for each row. Raises TransformFailed."""
        if self._function is None:
            return answers
        try:
            return [
                orjson.dumps(self._function(self._inputs(row), orjson.loads(answer)))
                for row, answer in zip(rows, answers, strict=True)
            ]
        except Exception as error:
            raise TransformFailed(self._model, self._reference, error) from error

    def _inputs(self, row: Row) -> dict[str, Any]:
        return {n: plain(v) for n, v in zip(self._names, row, strict=True)}


def source_digest(reference: str, model: str) -> str:
    """Digest the file that holds a transformer: other code may answer otherwise."""
    if not reference:
        return ""
    module = reference.partition(":")[0]
    try:
        spec = find_spec(module)
        data = Path(spec.origin or "").read_bytes() if spec else None
    except Exception as error:
        raise _unusable(reference, model, f"{type(error).__name__}: {error}") from error
    if data is None:
        raise _unusable(reference, model, f"no module {module!r}")
    return blake2b(data, digest_size=16).hexdigest()


def _load(reference: str, model: str) -> Callable[[dict[str, Any], Any], Any]:
    """Import the function, anew if its module was: the version is of its code now."""
    module, _, name = reference.partition(":")
    try:
        loaded = sys.modules.get(module)
        fresh = importlib.reload(loaded) if loaded else importlib.import_module(module)
        function = getattr(fresh, name)
    except Exception as error:  # whatever a module does when it is imported
        raise _unusable(reference, model, f"{type(error).__name__}: {error}") from error
    if not callable(function):
        raise _unusable(reference, model, f"{name!r} is no function")
    return function  # type: ignore[no-any-return]  # a user's function


def _unusable(reference: str, model: str, problem: str) -> StageFailed:
    return StageFailed(f"model {model!r}: transformer {reference!r}: {problem}")


def plain(value: Value) -> Any:
    """Return a value as a question holds it: of more dimensions, nested lists."""
    if isinstance(value, Block):
        return _nested(value.shape, iter(value.leaves))
    return value


def _nested(shape: Sequence[int], leaves: Iterator[Scalar]) -> Any:
    if not shape:
        return next(leaves)
    return [_nested(shape[1:], leaves) for _ in range(shape[0])]
