"""A version loaded and able to run: rows → answers.

What staging wrote, a directory:

    servable.json     signature, feeds, fetches and the state below (Description)
    dictionary        the kind of every input (contract.dictionary)
    saved_model/      graph and assets
    transformer/      the file that holds the transformer, if there is one
    weights/N         one variable each: raw little-endian elements, mapped into
                      every worker, or (state that cannot be mapped) a serialized
                      TensorProto
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.contract import canonical
from gomlx.contract.answer import AnswerFormat
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.dtypes import DTYPES
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row
from gomlx.errors import RunFailed
from gomlx.models.serving import session as tf_session
from gomlx.models.serving import weights
from gomlx.models.serving.cost import Spent, warmed
from gomlx.models.serving.transformer import Transformer
from gomlx.models.version import ModelVersion


@dataclass(frozen=True)
class Description:
    """All that a worker must know to serve a staged version.

    feeds and fetches name tensors of the graph. unsteady: kinds of operation that
    forbid caching. joins_rows: rows may run together. example: a row to warm with.
    transformer: "package.module:function" over every answer, or empty.
    """

    signature: Signature
    feeds: tuple[str, ...]
    fetches: tuple[str, ...]
    state: weights.SavedState
    unsteady: tuple[str, ...]
    joins_rows: bool
    example: dict[str, Any]
    transformer: str

    def write(self, directory: Path) -> None:
        (directory / "servable.json").write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, directory: Path) -> "Description":
        document = json.loads((directory / "servable.json").read_text())
        return cls(
            Signature.from_json(document["signature"]),
            tuple(document["feeds"]),
            tuple(document["fetches"]),
            weights.SavedState.from_json(document["state"]),
            tuple(document["unsteady"]),
            document["joins_rows"],
            document["example"],
            document["transformer"],
        )


_NUMPY = {dtype: tf.as_dtype(dtype).as_numpy_dtype for dtype in DTYPES}


class Servable:
    """A loaded version. Any one thread at a time may run it."""

    def __init__(self, version: ModelVersion) -> None:
        self.version = version
        self.description = Description.read(version.directory)
        self.signature = self.description.signature
        kinds = canonical.parse((version.directory / "dictionary").read_bytes())
        self.dictionary = Dictionary(version.digest, self.signature, kinds)
        self._transforms = bool(self.description.transformer)
        self._transform = Transformer(
            self.description.transformer, version, self.signature.names
        )
        self._feeds = Feeds(self.signature)
        self._answers = AnswerFormat(self.signature.outputs)
        self._is_ragged = any(
            t.shape is None or None in t.shape for t in self.signature.inputs
        )
        self._session = tf_session.open_session(tf.Graph())
        loader = tf_session.import_graph(
            self._session, version.directory / "saved_model"
        )
        folder = version.directory / "weights"
        weights.load(self._session, loader, folder, self.description.state)
        self._call = tf_session.make_callable(
            self._session, self.description.feeds, self.description.fetches
        )

    def run(self, rows: Sequence[Row]) -> list[bytes]:
        """Return the answer of every row, computed together where shapes agree.

        Raises RunFailed.
        """
        try:
            answers = self._run_by_shape(rows) if self._is_ragged else self._run(rows)
        except tf_session.TensorFlowError as error:
            name = self.version.name
            raise RunFailed(f"model {name!r} failed: {error.message[:500]}") from None
        return self._transform(rows, answers) if self._transforms else answers

    def outputs(self, rows: Sequence[Row]) -> list[Any]:
        """Run rows of equal shapes: one array per output, of shape [rows, …]."""
        return self._call(*self._feeds(rows))

    def warm(self, max_rows: int = 1) -> list[Spent]:
        """Run more and more rows, and return what the sizes of `cost.sizes` take.

        The first runs of a graph optimize it. Raises RunFailed: staging has run this
        row, so a worker that cannot is broken.
        """
        rows = self.signature.check(self.description.example).rows
        row = self.dictionary.canonical(rows)
        for _ in range(2):
            self.run(row * min(8, max_rows))
        return warmed(lambda size: self.run(row * size), max_rows)

    def close(self) -> None:
        """Free the session. The callable must go first, or it keeps it alive."""
        del self._call
        self._session.close()

    def _run(self, rows: Sequence[Row]) -> list[bytes]:
        arrays = self.outputs(rows)
        for tensor, array in zip(self.signature.outputs, arrays, strict=True):
            if not array.ndim or len(array) != len(rows):
                raise RunFailed(
                    f"output {tensor.name!r} has shape {list(array.shape)} for "
                    f"{len(rows)} rows: its first dimension must be the batch"
                )
        return self._answers.encode([_plain(array) for array in arrays])

    def _run_by_shape(self, rows: Sequence[Row]) -> list[bytes]:
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, row in enumerate(rows):
            shapes = tuple(v.shape if isinstance(v, Block) else () for v in row)
            groups.setdefault(shapes, []).append(i)
        answers: list[bytes] = [b""] * len(rows)
        for members in groups.values():
            run = self._run([rows[i] for i in members])
            for i, answer in zip(members, run, strict=True):
                answers[i] = answer
        return answers


class Feeds:
    """Makes the arrays that a model is fed.

    PERF: inputs of one dtype and shape are parts of one array: to make an array costs
    more than to fill it with a few rows (python -m loadtests profile).
    """

    def __init__(self, signature: Signature) -> None:
        self._width = len(signature.inputs)
        self._blocks = [
            (i, _NUMPY[t.dtype])
            for i, t in enumerate(signature.inputs)
            if not t.is_scalar
        ]
        self._groups: dict[tuple[Any, tuple[int, ...]], list[int]] = {}
        for i, t in enumerate(signature.inputs):
            if t.is_scalar:
                kind = _NUMPY[t.dtype], (1,) * len(t.shape or ())
                self._groups.setdefault(kind, []).append(i)

    def __call__(self, rows: Sequence[Row]) -> list[Any]:
        """Return one array per input, of shape [rows, …], from rows of equal shapes."""
        columns = list(zip(*rows, strict=True))
        # Auxiliary inputs come last, and are not fed.
        feeds: list[Any] = [None] * self._width
        for (dtype, shape), places in self._groups.items():
            array = np.empty((len(places), len(rows), *shape), dtype)
            array.reshape(len(places), len(rows))[:] = [columns[i] for i in places]
            for i, part in zip(places, array, strict=True):
                feeds[i] = part
        for i, dtype in self._blocks:
            feeds[i] = _blocks(columns[i], dtype)
        return feeds


def _texts(values: Sequence[Any], shape: Sequence[int | None]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def _blocks(values: Sequence[Any], dtype: Any) -> Any:
    shape = (len(values), *values[0].shape)
    leaves = [leaf for block in values for leaf in block.leaves]
    if dtype is object:
        return _texts(leaves, shape)
    return np.array(leaves, dtype).reshape(shape)


def _plain(array: Any) -> Any:
    """An array as the answer format takes it: contiguous, of a dtype JSON knows."""
    if array.dtype.kind == "V":  # bfloat16; PERF: to ask for its name costs 2 us
        array = array.astype(np.float32)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
