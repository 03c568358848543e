"""Sparse tensors whose first dimension is the batch: places, parts and a shape."""

from collections.abc import Callable

from gomlx.models.independence.operation import GraphOperation, Outcome
from gomlx.models.independence.partition import FILLED, as_parts, longest, parts, places
from gomlx.models.independence.sizes import WHOLE_BATCH, Size, product, quotient
from gomlx.models.independence.state import (
    Content,
    State,
    StateKind,
    holding,
    mixed,
    rows,
)


def from_ragged(operation: GraphOperation) -> Outcome | None:
    """RaggedTensorToSparse, of rows of parts: as wide as the longest row."""
    splits, *others, values = operation.inputs
    is_of_rows = splits.kind is StateKind.SPLITS and values.kind is StateKind.PARTS
    if others or not is_of_rows or values.rank != 1:
        return None
    partition = values.partition
    if splits.partition != partition:
        return None
    shape = holding((WHOLE_BATCH, longest(partition)), (Size(2),))
    return [places(partition, 2), values, shape]


def fill_empty_rows(operation: GraphOperation) -> Outcome | None:
    """SparseFillEmptyRows: a part for each row that has none.

    Only the parts that there were say which rows have none, so what is filled up by
    other values agrees.
    """
    at, values, shape, default = operation.inputs
    if not _is_sparse(at, values, shape) or default.kind is not StateKind.SAME:
        return None
    assert at.shape is not None and at.shape[1] is not None
    filled = f"{at.partition}{FILLED}"
    reverse = mixed(f"{operation.op} ({operation.node.name})")
    return [
        places(filled, at.shape[1].number),
        parts(filled),
        rows((WHOLE_BATCH,)),
        reverse,
    ]


def _is_sparse(at: State, values: State, shape: State) -> bool:
    """True for a sparse tensor whose first dimension is the batch."""
    values = as_parts(values)
    if at.kind is not StateKind.PLACES or values.kind is not StateKind.PARTS:
        return False
    is_by_row = shape.content is not None and shape.content[:1] == (WHOLE_BATCH,)
    is_own = at.partition == values.partition
    return is_by_row and is_own and values.rank == 1 and at.shape is not None


def reshape(operation: GraphOperation) -> Outcome | None:
    """SparseReshape that leaves each row's elements in it."""
    at, shape, target = operation.inputs
    if at.kind is not StateKind.PLACES or shape.content is None or not target.content:
        return None
    filled = _filled(shape.content, target.content)
    if WHOLE_BATCH != shape.content[0] or WHOLE_BATCH != filled[0]:
        return None
    is_as_before = len(filled) == 2 == len(shape.content)
    if is_as_before:
        filled = shape.content
    elif any(map(_decided_by_rows, (*shape.content[1:], *filled[1:]))):
        return None
    found = holding(filled, (Size(len(filled)),))
    return [places(at.partition, len(filled)), found]


def _filled(shape: Content, target: Content) -> Content:
    """Put the size in the place of -1; None where it cannot be said."""
    sizes = [size for size in shape if size is not None]
    others = [size for size in target if size is not None and size != Size(-1)]
    rest = None
    can_be_empty = any(size.varies for size in others)
    are_known = len(sizes) == len(shape) and len(others) == len(target) - 1
    if are_known and not can_be_empty:
        rest = quotient(product(sizes), product(others))
    return tuple(rest if size == Size(-1) else size for size in target)


def to_dense(operation: GraphOperation) -> Outcome | None:
    """SparseToDense of rows whose width no row decides."""
    at, shape, values, default = operation.inputs
    if default.kind is not StateKind.SAME or not _is_sparse(at, values, shape):
        return None
    sizes = shape.content or ()
    if any(map(_decided_by_rows, sizes[1:])):
        return operation.mixed("as wide as the longest row")
    return rows(sizes)


def product_of_rows(operation: GraphOperation) -> Outcome | None:
    """SparseTensorDenseMatMul of sparse rows and weights."""
    at, values, shape, weights = operation.inputs
    is_turned = operation.flag("adjoint_a") or operation.flag("adjoint_b")
    is_known = weights.kind is StateKind.SAME and not is_turned
    if not is_known or not _is_sparse(at, values, shape):
        return None
    if any(map(_decided_by_rows, (shape.content or ())[1:])):
        return operation.mixed("as wide as the longest row")
    width = weights.shape[1] if weights.shape and weights.rank == 2 else None
    return rows((WHOLE_BATCH, width))


def _decided_by_rows(size: Size | None) -> bool:
    return size is not None and (size.varies or size.batches > 0)


def cross(operation: GraphOperation) -> Outcome | None:
    """SparseCross and its like: each row's combinations of its own features."""
    count = operation.integer("N")
    dense = len(operation.attribute("dense_types").list.type)
    at = operation.inputs[:count]
    values = operation.inputs[count : 2 * count]
    shapes = operation.inputs[2 * count : 3 * count]
    columns = operation.inputs[3 * count : 3 * count + dense]
    rest = operation.inputs[3 * count + dense :]
    are_sparse = all(map(_is_sparse, at, values, shapes))
    are_dense = all(_is_column(one) for one in columns)
    are_same = all(one.kind is StateKind.SAME for one in rest)
    if not (are_sparse and are_dense and are_same):
        return None
    partition = str(operation.node.name)
    shape = holding((WHOLE_BATCH, longest(partition)), (Size(2),))
    return [places(partition, 2), parts(partition), shape]


def _is_column(one: State) -> bool:
    is_of_rows = one.kind is StateKind.ROWS and one.rank == 2 and not one.axis
    return is_of_rows and one.shape is not None and one.shape[0] == WHOLE_BATCH


RULES: dict[str, Callable[[GraphOperation], Outcome | None]] = {
    "RaggedTensorToSparse": from_ragged,
    "SparseCross": cross,
    "SparseCrossHashed": cross,
    "SparseCrossV2": cross,
    "SparseFillEmptyRows": fill_empty_rows,
    "SparseReshape": reshape,
    "SparseTensorDenseMatMul": product_of_rows,
    "SparseToDense": to_dense,
}
