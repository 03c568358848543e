"""Look-ups: in constants by rows, in rows by constants, in a row by itself."""

from gomlx.models.independence.operation import (
    GraphOperation,
    Outcome,
    Rule,
    number,
    numbers,
    place,
)
from gomlx.models.independence.partition import lengths
from gomlx.models.independence.sizes import WHOLE_BATCH, Size
from gomlx.models.independence.state import (
    SAME,
    Shape,
    State,
    StateKind,
    holding,
    rows,
    same,
    with_rows,
)


def gather(operation: GraphOperation) -> Outcome:
    """Gather, GatherV2, ResourceGather."""
    params, indices = operation.inputs[:2]
    axis = number(operation.inputs[2]) if len(operation.inputs) > 2 else 0
    is_vector = params.content is not None and params.rank == 1
    if is_vector and indices.kind is StateKind.SAME:
        return _of_content(params, indices)
    if operation.worst is StateKind.SAME:
        return SAME
    operation.require(operation.worst <= StateKind.ROWS and axis is not None)
    assert axis is not None
    has_size = StateKind.SIZE in (params.kind, indices.kind)
    operation.require(not has_size, "the size of the batch is used as a value")
    if params.kind is StateKind.SAME:
        return _by_rows(operation, params, indices, axis)
    operation.require(params.shape is not None, "unknown rank")
    axis = place(axis, len(params.shape or ()))
    if indices.kind is StateKind.SAME:
        return _in_rows(operation, params, indices, axis)
    return _in_own_row(operation, params, indices, axis)


def _batch_dims(operation: GraphOperation) -> int:
    return 0 if operation.op == "Gather" else operation.integer("batch_dims")


def _of_content(params: State, indices: State) -> State:
    """Pick sizes out of a vector."""
    assert params.content is not None
    places = numbers(indices)
    if places is None or any(not 0 <= i < len(params.content) for i in places):
        return State(params.kind)
    return holding(tuple(params.content[i] for i in places), indices.shape)


def _by_rows(
    operation: GraphOperation, params: State, indices: State, axis: int
) -> State:
    """A table that is the same for all, looked up by each row's own indices."""
    operation.require(not _batch_dims(operation), "places of a batch in a table")
    if indices.shape is None or params.shape is None:
        is_first = axis == 0 and indices.axis == 0
        has_one_each = indices.shape is None or indices.shape[0] == WHOLE_BATCH
        operation.require(is_first and has_one_each, "unknown rank")
        return rows(None)
    axis = place(axis, len(params.shape))
    shape = (*params.shape[:axis], *indices.shape, *params.shape[axis + 1 :])
    return with_rows(shape, axis + indices.axis, operation.mixed().reason)


def _in_rows(
    operation: GraphOperation, params: State, indices: State, axis: int
) -> State:
    """Constant places of each row, such as columns."""
    assert params.shape is not None
    is_aside = axis != params.axis and not _batch_dims(operation)
    operation.require(is_aside and indices.shape is not None, "places of the batch")
    assert indices.shape is not None
    shape = (*params.shape[:axis], *indices.shape, *params.shape[axis + 1 :])
    moved = len(indices.shape) - 1 if axis < params.axis else 0
    return with_rows(shape, params.axis + moved, operation.mixed().reason)


def _in_own_row(
    operation: GraphOperation, params: State, indices: State, axis: int
) -> State:
    """Each row looked up by its own indices: the batch is one of the shared axes."""
    assert params.shape is not None
    batch_dims = _batch_dims(operation)
    is_shared = indices.axis == params.axis < batch_dims <= axis
    is_known = indices.shape is not None and is_shared
    operation.require(is_known, "rows look up other rows")
    assert indices.shape is not None
    are_own = params.shape[params.axis] == indices.shape[indices.axis]
    operation.require(are_own, "rows look up other rows")
    rest: Shape = indices.shape[batch_dims:]
    shape = (*params.shape[:axis], *rest, *params.shape[axis + 1 :])
    return with_rows(shape, params.axis, operation.mixed().reason)


def gather_nd(operation: GraphOperation) -> Outcome:
    params, indices = operation.inputs
    if operation.worst is StateKind.SAME:
        return SAME
    if params.kind is not StateKind.SAME or indices.kind is not StateKind.ROWS:
        return operation.mixed("places of the batch")
    if indices.shape is None or indices.axis == len(indices.shape) - 1:
        return operation.mixed("unknown rank")
    depth = indices.shape[-1]
    if params.shape is None or depth is None or not depth.is_number:
        return operation.mixed("unknown rank")
    shape = (*indices.shape[:-1], *params.shape[depth.number :])
    return with_rows(shape, indices.axis, operation.mixed().reason)


def one_hot(operation: GraphOperation) -> Outcome:
    indices, depth, on, off = operation.inputs
    if operation.worst is StateKind.SAME:
        return same(None)
    is_known = indices.kind is StateKind.ROWS and indices.shape is not None
    if not is_known or any(s.kind is not StateKind.SAME for s in (depth, on, off)):
        return operation.mixed()
    assert indices.shape is not None
    axis = place(operation.integer("axis"), len(indices.shape) + 1)
    width = number(depth)
    size = None if width is None else Size(width)
    shape = (*indices.shape[:axis], size, *indices.shape[axis:])
    return rows(shape, indices.axis + (axis <= indices.axis))


def table_find(operation: GraphOperation) -> Outcome:
    """LookupTableFindV2: each key by itself."""
    table, keys, default = operation.inputs
    if operation.worst is StateKind.SAME:
        return same(keys.shape)
    if table.kind is not StateKind.SAME:
        return operation.mixed()
    if default.kind is StateKind.ROWS and keys.kind is StateKind.ROWS:
        is_beside = default.shape == keys.shape and default.axis == keys.axis
        return keys if is_beside else operation.mixed("the default of another row")
    if (
        keys.kind not in (StateKind.ROWS, StateKind.PARTS)
        or default.kind is not StateKind.SAME
    ):
        return operation.mixed()
    return keys if default.rank == 0 else operation.mixed()


def dense_bincount(operation: GraphOperation) -> Outcome:
    """Of a matrix, each row by itself; of a vector, all together."""
    one, size, weights = operation.inputs
    if operation.worst is StateKind.SAME:
        return same(None)
    if one.kind is StateKind.OWNERS and size.content == (WHOLE_BATCH,):
        operation.require(weights.is_empty)
        # How many parts each row has, of this partition.
        partition = "" if operation.flag("binary_output") else one.partition
        return lengths(partition)
    is_matrix = one.kind is StateKind.ROWS and one.rank == 2 and one.axis == 0
    if not is_matrix or size.kind is not StateKind.SAME or one.shape is None:
        return operation.mixed("counts all rows")
    has_weights = weights.kind is StateKind.ROWS and weights.axis == 0
    if not weights.is_empty and not has_weights:
        return operation.mixed("weights of places in the batch")
    width = number(size)
    return rows((one.shape[0], None if width is None else Size(width)))


RULES: dict[str, Rule] = {
    "DenseBincount": dense_bincount,
    "Gather": gather,
    "GatherNd": gather_nd,
    "GatherV2": gather,
    "LookupTableFind": table_find,
    "LookupTableFindV2": table_find,
    "OneHot": one_hot,
    "ResourceGather": gather,
}
