"""The arrays that a model returns → answers."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import numpy as np

from gomlx.contract.answer import AnswerFormat, ragged_texts, sparse_texts
from gomlx.contract.tensor import Tensor
from gomlx.errors import RunFailed
from gomlx.models.serving.binding import Binding, Layout


class Answers:
    """Encodes what a model returns, one array per tensor that is fetched."""

    def __init__(self, outputs: Sequence[Tensor], binding: Binding) -> None:
        self._outputs = outputs
        self._parts = [(one.layout, len(one.tensors)) for one in binding.outputs]
        self._format = AnswerFormat(outputs)
        # PERF: most models have an open batch and one array of rows an output.
        self._is_filled = binding.rows > 0
        self._is_plain = not self._is_filled and all(
            layout is Layout.ROWS for layout, _ in self._parts
        )

    def __call__(self, arrays: Sequence[Any], rows: int) -> list[bytes]:
        """Return one answer per row. Raises RunFailed if an output has other shapes."""
        if not self._is_plain:
            arrays = self.by_row(arrays, rows)
        for tensor, array in zip(self._outputs, arrays, strict=True):
            if array.shape[:1] != (rows,):
                raise RunFailed(
                    f"output {tensor.name!r} has shape {list(array.shape)} for "
                    f"{rows} rows: its first dimension must be the batch"
                )
        return self._format.encode(arrays)

    def by_row(self, arrays: Sequence[Any], rows: int) -> list[Any]:
        """Return one array of shape [rows, …] per output.

        What all rows share is repeated, and what fills up a run is dropped. An array
        without a first axis for the batch stays as it is. Of a ragged or sparse output,
        the array holds the JSON text of each row.
        """
        found: list[Any] = []
        rest = iter(arrays)
        for layout, count in self._parts:
            parts = [_array(value) for value in islice(rest, count)]
            if layout is Layout.RAGGED:
                found.append(_texts(ragged_texts(parts[0], parts[1:])))
                continue
            if layout is Layout.SPARSE:
                found.append(_texts(sparse_texts(*parts)))
                continue
            (array,) = parts
            if layout is Layout.WHOLE:
                array = np.broadcast_to(array, (rows, *array.shape))
            elif layout is Layout.ONE and array.shape[:1] == (1,):
                array = np.broadcast_to(array, (rows, *array.shape[1:]))
            elif self._is_filled and array.ndim:
                array = array[:rows]
            found.append(array)
        return found


def _texts(texts: Sequence[bytes]) -> Any:
    array = np.empty(len(texts), object)
    array[:] = texts
    return array


def _array(value: Any) -> Any:
    """Return an array: TensorFlow returns a text without dimensions as bytes."""
    if isinstance(value, bytes):
        array = np.empty((), object)
        array[()] = value
        return array
    return np.asarray(value)
