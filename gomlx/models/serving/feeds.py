"""Rows → the arrays that a model is fed."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.contract.agreement import identity
from gomlx.contract.dtypes import DTYPES, STRUCT_CODES
from gomlx.contract.tensor import Block, Row, Tensor
from gomlx.contract.values.composite import inner_sizes, list_lengths, sparse_indices
from gomlx.contract.values.packing import flatten
from gomlx.models.serving.binding import Binding, Layout

_NUMPY = {dtype: tf.as_dtype(dtype).as_numpy_dtype for dtype in DTYPES}
_PACKED = {dtype: np.dtype(f"<{code}") for dtype, code in STRUCT_CODES.items()}


class Feeds:
    """Encodes rows for a model.

    is_grouped: not any rows can share a run, but only those that `groups` puts
    together. It is False of requests as a whole, whose rows are known to agree.

    PERF: inputs of one dtype and shape are slices of one array. To make an array costs
    more than to fill it with a few rows (python -m loadtests profile).
    """

    def __init__(
        self, inputs: Sequence[Tensor], binding: Binding, rows_together: bool = False
    ) -> None:
        self._rows = binding.rows
        self._width = len(binding.feeds)
        self._scalars: dict[tuple[Any, tuple[int, ...]], list[tuple[int, int]]] = {}
        self._blocks: list[tuple[int, int, str]] = []
        self._shared: list[tuple[int, int, Tensor, Layout]] = []
        self._composites: list[tuple[int, int, Tensor, str]] = []
        feed = 0
        for i, (tensor, bound) in enumerate(zip(inputs, binding.inputs, strict=True)):
            if bound.layout in (Layout.RAGGED, Layout.SPARSE):
                self._composites.append((feed, i, tensor, bound.splits))
            elif bound.layout.is_shared:
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
        may_differ = self._shared or self._composites or open_blocks
        self.is_grouped = bool(may_differ) and not rows_together

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
        for feed, i, tensor, splits in self._composites:
            encode = _sparse if tensor.is_sparse else partial(_ragged, splits)
            parts = encode(columns[i], tensor)
            feeds[feed : feed + len(parts)] = parts
        return feeds

    def groups(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Yield the places of rows that can share a run.

        Their blocks have equal shapes, and their shared values are equal.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, row in enumerate(rows):
            shapes = tuple(v.shape if isinstance(v, Block) else () for v in row)
            shared = tuple(identity(row[i]) for _, i, _, _ in self._shared)
            groups.setdefault((shapes, shared), []).append(place)
        yield from groups.values()


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
    return _packed(values, dtype, (len(values), *values[0].shape))


def _packed(values: Sequence[Any], dtype: str, shape: Sequence[int]) -> Any:
    """Return the elements of blocks, one after the other, as an array of a shape."""
    parts = [block.elements for block in values]
    if dtype not in _PACKED:
        return _texts(flatten(parts), shape)
    # TensorFlow reads it in place, and never writes to memory that it does not own.
    array = np.frombuffer(b"".join(parts), _PACKED[dtype]).reshape(shape)
    return array.astype(_NUMPY[dtype], copy=False)


def _ragged(dtype: str, column: Sequence[Any], tensor: Tensor) -> list[Any]:
    """Return the elements of all rows and, for each level of lists, their splits.

    dtype: of the splits.
    """
    lengths = [list_lengths(block.shape, tensor.ragged) for block in column]
    splits = []
    for level in zip(*lengths, strict=True):
        ends = np.cumsum([0, *flatten(level)], dtype=dtype)
        splits.append(ends)
    inners = (inner_sizes(block.shape, tensor.ragged) for block in column)
    empty = column[0].shape[sum(map(len, lengths[0])) :]
    inner = next((sizes for sizes in inners if sizes is not None), empty)
    return [_packed(column, tensor.dtype, (int(splits[-1][-1]), *inner)), *splits]


def _sparse(column: Sequence[Any], tensor: Tensor) -> list[Any]:
    """Return the indices, values and shape of all rows."""
    rank = len(tensor.shape or ())
    indices = [
        (row, *index)
        for row, block in enumerate(column)
        for index in sparse_indices(block.shape, rank)
    ]
    count = len(indices)
    return [
        np.array(indices, np.int64).reshape(count, rank + 1),
        _packed(column, tensor.dtype, (count,)),
        np.array((len(column), *column[0].shape[:rank]), np.int64),
    ]


def _texts(values: Sequence[Any], shape: Sequence[int | None]) -> Any:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)
