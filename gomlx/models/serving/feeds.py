"""Rows → the arrays that a model is fed."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.contract.dtypes import DTYPES, STRUCT_CODES
from gomlx.contract.packing import flatten
from gomlx.contract.tensor import Block, Row, Tensor
from gomlx.models.serving.binding import Binding, Layout

_NUMPY = {dtype: tf.as_dtype(dtype).as_numpy_dtype for dtype in DTYPES}
_PACKED = {dtype: np.dtype(f"<{code}") for dtype, code in STRUCT_CODES.items()}


class Feeds:
    """Encodes rows for a model.

    is_grouped: not any rows can share a run, but only those that `groups` puts
    together.

    PERF: inputs of one dtype and shape are slices of one array. To make an array costs
    more than to fill it with a few rows (python -m loadtests profile).
    """

    def __init__(self, inputs: Sequence[Tensor], binding: Binding) -> None:
        self._rows = binding.rows
        self._width = len(binding.feeds)
        self._scalars: dict[tuple[Any, tuple[int, ...]], list[tuple[int, int]]] = {}
        self._blocks: list[tuple[int, int, str]] = []
        self._shared: list[tuple[int, int, Tensor, Layout]] = []
        feed = 0
        for i, (tensor, bound) in enumerate(zip(inputs, binding.inputs, strict=True)):
            if bound.layout.is_shared:
                self._shared.append((feed, i, tensor, bound.layout))
            elif tensor.is_scalar:
                kind = _NUMPY[tensor.dtype], (1,) * len(tensor.shape or ())
                self._scalars.setdefault(kind, []).append((feed, i))
            else:
                self._blocks.append((feed, i, tensor.dtype))
            feed += len(bound.tensors)
        open_blocks = [
            t for t in inputs if not t.is_scalar and (not t.shape or None in t.shape)
        ]
        self.is_grouped = bool(self._shared or open_blocks)

    def __call__(self, rows: Sequence[Row]) -> list[Any]:
        """Return one array per tensor that is fed, from rows of one group.

        The arrays have shape [rows, …], or what the layout of their input says.
        """
        if self._rows:
            rows = [*rows, *[rows[-1]] * (self._rows - len(rows))]
        columns = list(zip(*rows, strict=True))
        # Auxiliary inputs come last, and are not fed.
        feeds: list[Any] = [None] * self._width
        for (dtype, shape), places in self._scalars.items():
            array = np.empty((len(places), len(rows), *shape), dtype)
            array.reshape(len(places), len(rows))[:] = [columns[i] for _, i in places]
            for (feed, _), part in zip(places, array, strict=True):
                feeds[feed] = part
        for feed, i, dtype in self._blocks:
            feeds[feed] = _blocks(columns[i], dtype)
        for feed, i, tensor, layout in self._shared:
            feeds[feed] = _shared(rows[0][i], tensor, layout)
        return feeds

    def groups(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Yield the places of rows that can share a run.

        Their blocks have equal shapes, and their shared values are equal.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, row in enumerate(rows):
            shapes = tuple(v.shape if isinstance(v, Block) else () for v in row)
            shared = tuple(_distinct(row[i]) for _, i, _, _ in self._shared)
            groups.setdefault((shapes, shared), []).append(place)
        yield from groups.values()


def _distinct(value: Any) -> Any:
    """Return a key of a value: -0.0 is not 0.0 to a model, and 1 is not True."""
    return (type(value), str(value) if isinstance(value, float) else value)


def _shared(value: Any, tensor: Tensor, layout: Layout) -> Any:
    """Return the tensor of an input that all rows of a run share."""
    if isinstance(value, Block):
        array = _blocks([value], tensor.dtype)
    else:
        shape = (1,) * (1 + len(tensor.shape or ()))
        array = np.array([value], _NUMPY[tensor.dtype]).reshape(shape)
    return array if layout is Layout.ONE else array.reshape(array.shape[1:])


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
