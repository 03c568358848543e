"""Rows → the arrays that a model is fed; the arrays that it returns → answers."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.contract.answer import AnswerFormat
from gomlx.contract.dtypes import DTYPES, STRUCT_CODES
from gomlx.contract.packing import flatten
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor
from gomlx.errors import RunFailed

_NUMPY = {dtype: tf.as_dtype(dtype).as_numpy_dtype for dtype in DTYPES}
_PACKED = {dtype: np.dtype(f"<{code}") for dtype, code in STRUCT_CODES.items()}


class Feeds:
    """Encodes rows for a model.

    is_ragged: rows may differ in their shapes, and only equal ones share arrays.

    PERF: inputs of one dtype and shape are slices of one array. To make an array costs
    more than to fill it with a few rows (python -m loadtests profile).
    """

    def __init__(self, signature: Signature) -> None:
        inputs = signature.inputs
        self.is_ragged = any(t.shape is None or None in t.shape for t in inputs)
        self._width = len(inputs)
        self._blocks = [(i, t.dtype) for i, t in enumerate(inputs) if not t.is_scalar]
        self._groups: dict[tuple[Any, tuple[int, ...]], list[int]] = {}
        for i, t in enumerate(inputs):
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


class Answers:
    """Encodes what a model returns: one array per output, of shape [rows, …]."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = outputs
        self._format = AnswerFormat(outputs)

    def __call__(self, arrays: Sequence[Any], rows: int) -> list[bytes]:
        """Return one answer per row. Raises RunFailed if an output has other shapes."""
        for tensor, array in zip(self._outputs, arrays, strict=True):
            if not array.ndim or len(array) != rows:
                raise RunFailed(
                    f"output {tensor.name!r} has shape {list(array.shape)} for "
                    f"{rows} rows: its first dimension must be the batch"
                )
        return self._format.encode([_encodable(array) for array in arrays])


def by_shape(rows: Sequence[Row]) -> Iterator[list[int]]:
    """Yield the places of rows that have equal shapes."""
    groups: dict[tuple[tuple[int, ...], ...], list[int]] = {}
    for i, row in enumerate(rows):
        shapes = tuple(v.shape if isinstance(v, Block) else () for v in row)
        groups.setdefault(shapes, []).append(i)
    yield from groups.values()


def _blocks(values: Sequence[Any], dtype: str) -> Any:
    """Return the array of a column of blocks of equal shapes."""
    shape = (len(values), *values[0].shape)
    parts = [block.elements for block in values]
    if dtype not in _PACKED:
        return _texts(flatten(parts), shape)
    # TensorFlow reads it in place, and never writes to memory that it does not own.
    array = np.frombuffer(b"".join(parts), _PACKED[dtype]).reshape(shape)
    return array.astype(_NUMPY[dtype], copy=False)


def _texts(values: Sequence[Any], shape: Sequence[int | None]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def _encodable(array: Any) -> Any:
    """Return a contiguous array of a dtype that the answer format writes."""
    if array.dtype.kind == "V":  # bfloat16; PERF: to ask for its name costs 2 us
        array = array.astype(np.float32)
    return array if array.flags.c_contiguous else np.ascontiguousarray(array)
