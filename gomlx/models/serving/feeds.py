"""Rows → the arrays that a model is fed."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import accumulate, chain
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.contract.agreement import identity
from gomlx.contract.dtypes import DTYPES, STRUCT_CODES
from gomlx.contract.key import picker
from gomlx.contract.tensor import Block, Row, Tensor
from gomlx.contract.values.composite import inner_sizes, list_lengths, sparse_indices
from gomlx.contract.values.packing import flatten
from gomlx.models.serving.binding import Binding, Bound, Layout

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
        self._shared: list[int] = []
        self._others: list[tuple[int, Callable[[Sequence[Any]], Sequence[Any]]]] = []
        scalars: dict[tuple[Any, tuple[int | None, ...]], list[int]] = {}
        for i, (tensor, bound) in enumerate(zip(inputs, binding.inputs, strict=True)):
            if tensor.is_scalar and bound.layout is Layout.ROWS:
                kind = _NUMPY[tensor.dtype], tensor.shape or ()
                scalars.setdefault(kind, []).append(i)
                continue
            self._others.append((i, partial(_ENCODE[bound.layout], tensor, bound)))
            if bound.layout.is_shared:
                self._shared.append(i)
        self._scalars = [(*kind, picker(places)) for kind, places in scalars.items()]
        encoded = [*chain(*scalars.values()), *[i for i, _ in self._others]]
        firsts = [0, *accumulate(len(bound.tensors) for bound in binding.inputs)]
        order = [feed for i in encoded for feed in range(firsts[i], firsts[i + 1])]
        self._in_order = picker(sorted(range(len(order)), key=order.__getitem__))
        open_blocks = [
            t for t in inputs if not t.is_scalar and (not t.shape or None in t.shape)
        ]
        composites = {Layout.RAGGED, Layout.SPARSE} & {b.layout for b in binding.inputs}
        may_differ = self._shared or composites or open_blocks
        self.is_grouped = bool(may_differ) and not rows_together

    def __call__(self, rows: Sequence[Row]) -> Sequence[Any]:
        """Return one array per tensor that is fed, from rows of one group.

        The arrays have shape [rows, …], or what the layout of their input says.
        """
        if self._rows:
            rows = [*rows, *[rows[-1]] * (self._rows - len(rows))]
        # Auxiliary inputs come last, and are not fed.
        columns = list(zip(*rows, strict=True))
        feeds: list[Any] = []
        for dtype, shape, pick in self._scalars:
            array = np.array(pick(columns), dtype)
            feeds.extend(array.reshape(array.shape + shape))
        for i, encode in self._others:
            feeds.extend(encode(columns[i]))
        return self._in_order(feeds)

    def groups(self, rows: Sequence[Row]) -> Iterator[list[int]]:
        """Yield the places of rows that can share a run.

        Their blocks have equal shapes, and their shared values are equal.
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for place, row in enumerate(rows):
            shapes = tuple(v.shape if isinstance(v, Block) else () for v in row)
            shared = tuple(identity(row[i]) for i in self._shared)
            groups.setdefault((shapes, shared), []).append(place)
        yield from groups.values()


def _shared(tensor: Tensor, bound: Bound, column: Sequence[Any]) -> Sequence[Any]:
    """Return the tensor of a value that all rows of a run share."""
    if tensor.is_scalar:
        array = np.array(column[:1], _NUMPY[tensor.dtype])
        array = array.reshape(array.shape + (tensor.shape or ()))
    else:
        (array,) = _blocks(tensor, bound, column[:1])
    return [array if bound.layout is Layout.ONE else array.reshape(array.shape[1:])]


def _blocks(tensor: Tensor, _: Bound, column: Sequence[Any]) -> Sequence[Any]:
    """Return the array of a column of blocks of equal shapes."""
    return [_packed(column, tensor.dtype, (len(column), *column[0].shape))]


def _packed(values: Sequence[Any], dtype: str, shape: Sequence[int]) -> Any:
    """Return the elements of blocks, one after the other, as an array of a shape."""
    parts = [block.elements for block in values]
    if dtype not in _PACKED:
        return _texts(flatten(parts), shape)
    # TensorFlow reads it in place, and never writes to memory that it does not own.
    array = np.frombuffer(b"".join(parts), _PACKED[dtype]).reshape(shape)
    return array.astype(_NUMPY[dtype], copy=False)


def _ragged(tensor: Tensor, bound: Bound, column: Sequence[Any]) -> Sequence[Any]:
    """Return the elements of all rows and, for each level of lists, their splits."""
    lengths = [list_lengths(block.shape, tensor.ragged) for block in column]
    splits = []
    for level in zip(*lengths, strict=True):
        ends = np.cumsum([0, *flatten(level)], dtype=bound.splits)
        splits.append(ends)
    inners = (inner_sizes(block.shape, tensor.ragged) for block in column)
    empty = column[0].shape[sum(map(len, lengths[0])) :]
    inner = next((sizes for sizes in inners if sizes is not None), empty)
    return [_packed(column, tensor.dtype, (int(splits[-1][-1]), *inner)), *splits]


def _sparse(tensor: Tensor, _: Bound, column: Sequence[Any]) -> Sequence[Any]:
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


_ENCODE: dict[Layout, Callable[[Tensor, Bound, Sequence[Any]], Sequence[Any]]] = {
    Layout.ROWS: _blocks,
    Layout.ONE: _shared,
    Layout.WHOLE: _shared,
    Layout.RAGGED: _ragged,
    Layout.SPARSE: _sparse,
}
