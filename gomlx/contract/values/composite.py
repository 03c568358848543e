"""Values of ragged and sparse inputs and outputs: lists of any lengths, sparse tensors.

A row's value of a ragged tensor is nested lists; the lists of its first levels may
differ in length. As a block, its shape is the length of each list, level by level, and
then the sizes that all innermost ones have:

    [[1, 2], [3]]  of two levels  →  shape (2, 2, 1), elements 1 2 3

A row's value of a sparse tensor is {"indices": …, "values": …, "shape": …}. As a block,
its shape is that of the tensor and then all indices, in their order:

    {"indices": [[3], [7]], "values": [0.5, 1], "shape": [10]}
                              →  shape (10, 3, 7), elements 0.5 1

Equal values have equal blocks: the indices of a block are sorted.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

from gomlx.contract.values.packing import flatten, nest

_Dims = Sequence[int | None]
MAX_SIZE = 2**32 - 1  # of a dimension, and an index: keys hold them in 4 bytes
_NEEDED = frozenset({"indices", "values"})
_PARTS = _NEEDED | {"shape"}


class Misfit(ValueError):
    """What a value is instead of the expected one."""


def flatten_ragged(
    value: Any, levels: int, dims: _Dims
) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a block and its elements.

    levels: how many of the dimensions dims have lists of any lengths. Raises Misfit.
    """
    shape: list[int] = []
    leaves = [value]
    for depth, size in enumerate(dims):
        if not all(type(leaf) is list for leaf in leaves):
            raise Misfit(f"a value of {depth} levels of lists")
        lengths = list(map(len, leaves))
        if size is not None and (others := {*lengths} - {size}):
            raise Misfit(f"a list of length {min(others)}")
        if depth < levels:
            shape += lengths
        elif len({*lengths}) > 1:
            raise Misfit("nested lists of unequal length")
        else:
            shape.append(lengths[0] if lengths else size or 0)
        leaves = flatten(leaves)
    return tuple(shape), leaves


def list_lengths(shape: Sequence[int], levels: int) -> list[Sequence[int]]:
    """Return the lengths of the lists of each level of a ragged block."""
    found = []
    start = 0
    count = 1
    for _ in range(levels):
        lengths = shape[start : start + count]
        found.append(lengths)
        start += count
        count = sum(lengths)
    return found


def inner_sizes(shape: Sequence[int], levels: int) -> Sequence[int] | None:
    """Return the sizes that all innermost lists of a ragged block have.

    None if it has no such list, and so fits beside any.
    """
    lengths = list_lengths(shape, levels)
    return shape[sum(map(len, lengths)) :] if sum(lengths[-1]) else None


def nest_ragged(shape: Sequence[int], levels: int, elements: Sequence[Any]) -> Any:
    """Return the nested lists that a ragged block stands for."""
    lengths = list_lengths(shape, levels)
    inner = shape[sum(map(len, lengths)) :]
    count = sum(lengths[-1])
    values = nest((count, *inner), elements) if count else []
    for sizes in reversed(lengths):
        values = list(_cut(values, sizes))
    return values[0]


def flatten_sparse(value: Any, dims: _Dims) -> tuple[tuple[int, ...], list[Any]]:
    """Return the shape of a block and its elements. Raises Misfit."""
    if not isinstance(value, dict) or not _NEEDED <= value.keys() <= _PARTS:
        raise Misfit("another value")
    indices = _indices(value["indices"], len(dims))
    values = value["values"]
    shape = _sparse_shape(value.get("shape", list(dims)), dims)
    if not isinstance(values, list) or len(values) != len(indices):
        raise Misfit(f"{len(indices)} indices and other values")
    for index in indices:
        if any(not 0 <= i < size for i, size in zip(index, shape, strict=True)):
            raise Misfit(f"an index {list(index)} beyond the shape {list(shape)}")
    order = sorted(range(len(indices)), key=indices.__getitem__)
    placed = [indices[i] for i in order]
    if any(a == b for a, b in pairwise(placed)):
        raise Misfit("an index that comes twice")
    return (*shape, *flatten(placed)), [values[i] for i in order]


def sparse_indices(shape: Sequence[int], rank: int) -> list[Sequence[int]]:
    """Return the index of each element of a sparse block."""
    return [shape[i : i + rank] for i in range(rank, len(shape), rank)]


def nest_sparse(
    shape: Sequence[int], rank: int, elements: Sequence[Any]
) -> dict[str, Any]:
    """Return the value that a sparse block stands for."""
    return {
        "indices": [list(index) for index in sparse_indices(shape, rank)],
        "values": list(elements),
        "shape": list(shape[:rank]),
    }


def _indices(value: Any, rank: int) -> list[tuple[int, ...]]:
    """Return indices as tuples; those of one dimension may be plain numbers."""
    if not isinstance(value, list):
        raise Misfit("indices that are no list")
    found = [(one,) if type(one) is int else one for one in value]
    for index in found:
        is_index = isinstance(index, list | tuple) and len(index) == rank
        if not is_index or any(type(i) is not int for i in index):
            raise Misfit(f"an index that is not {rank} integers")
    return [tuple(index) for index in found]


def _sparse_shape(value: Any, dims: _Dims) -> tuple[int, ...]:
    is_shape = isinstance(value, list) and len(value) == len(dims)
    if not is_shape or any(type(size) is not int for size in value):
        raise Misfit(f"no shape of {len(dims)} integers")
    for size, declared in zip(value, dims, strict=True):
        if declared not in (None, size) or not 0 <= size <= MAX_SIZE:
            raise Misfit(f"the shape {value}")
    return tuple(value)


def _cut(values: Sequence[Any], sizes: Sequence[int]) -> Iterator[list[Any]]:
    start = 0
    for size in sizes:
        yield list(values[start : start + size])
        start += size
