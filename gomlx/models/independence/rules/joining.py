"""Operations that join tensors, and those that take them apart."""

from collections.abc import Sequence

from gomlx.models.independence.operation import (
    GraphOperation,
    Outcome,
    Rule,
    number,
    place,
)
from gomlx.models.independence.partition import splits
from gomlx.models.independence.sizes import Size, quotient
from gomlx.models.independence.state import (
    Shape,
    State,
    StateKind,
    holding,
    rows,
)


def pack(operation: GraphOperation) -> Outcome:
    """Pack: equal shapes become one more dimension."""
    inputs = operation.inputs
    if operation.worst > StateKind.ROWS:
        return operation.mixed()
    first = inputs[0]
    if operation.worst < StateKind.ROWS:
        contents = [one.content for one in inputs if one.rank == 0]
        content = tuple(one[0] for one in contents if one)
        if len(content) < len(inputs):
            return State(operation.worst)
        return holding(content, (Size(len(content)),))
    if first.shape is None or any(not _is_like(one, first) for one in inputs):
        return operation.mixed("rows beside what has none")
    where = place(operation.integer("axis"), len(first.shape) + 1)
    wider = (*first.shape[:where], Size(len(inputs)), *first.shape[where:])
    return rows(wider, first.axis + (where <= first.axis))


def _is_like(one: State, first: State) -> bool:
    """True for rows along the same axis, as many to a batch."""
    if one.kind is not StateKind.ROWS or one.shape is None or first.shape is None:
        return False
    if one.axis != first.axis or len(one.shape) != len(first.shape):
        return False
    return one.shape[one.axis] == first.shape[first.axis]


def concat(operation: GraphOperation) -> Outcome:
    """Concat, ConcatV2: joined along another axis than the batch's."""
    if operation.op == "Concat":
        axis, *parts = operation.inputs
    else:
        *parts, axis = operation.inputs
    where = number(axis)
    operation.require(where is not None)
    assert where is not None
    if [one.kind for one in parts] == [StateKind.SAME, StateKind.TOTALS]:
        operation.require(parts[0].content == (Size(0),) and where == 0)
        return splits(parts[1].partition)
    operation.require(operation.worst <= StateKind.ROWS)
    if operation.worst < StateKind.ROWS:
        return _concat_without_rows(operation, parts)
    first = parts[0]
    are_alike = first.shape is not None and all(_is_like(one, first) for one in parts)
    operation.require(are_alike, "rows beside what has none")
    assert first.shape is not None
    where = place(where, len(first.shape))
    operation.require(where != first.axis, "along the batch")
    lengths = [one.shape[where] if one.shape else None for one in parts]
    return rows(_with_size(first.shape, where, _sum(lengths)), first.axis)


def _concat_without_rows(operation: GraphOperation, parts: Sequence[State]) -> State:
    contents = [one.content for one in parts if one.rank == 1]
    if None in contents or len(contents) < len(parts):
        return State(operation.worst)
    content = tuple(size for one in contents if one for size in one)
    return holding(content, (Size(len(content)),))


def _with_size(shape: Shape, axis: int, size: Size | None) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def _sum(sizes: Sequence[Size | None]) -> Size | None:
    total = Size(0)
    for size in sizes:
        if size is None or not size.is_number:
            return None
        total = Size(total.number + size.number)
    return total


def unpack(operation: GraphOperation) -> Outcome:
    (one,) = operation.inputs
    count = operation.integer("num")
    if one.kind > StateKind.ROWS:
        return [operation.mixed()] * count
    if one.content is not None and one.rank == 1:
        return [holding((size,), ()) for size in one.content]
    if one.shape is None:
        is_same = one.kind is not StateKind.ROWS
        return [State(one.kind) if is_same else operation.mixed("unknown rank")] * count
    where = place(operation.integer("axis"), len(one.shape))
    if one.kind is not StateKind.ROWS:
        return [State(one.kind, (*one.shape[:where], *one.shape[where + 1 :]))] * count
    if where == one.axis:
        return [operation.mixed("along the batch")] * count
    kept = (*one.shape[:where], *one.shape[where + 1 :])
    return [rows(kept, one.axis - (where < one.axis))] * count


def split(operation: GraphOperation) -> Outcome:
    """Split, SplitV: along another axis than the batch's."""
    is_by_sizes = operation.op == "SplitV"
    one = operation.inputs[0 if is_by_sizes else 1]
    axis = operation.inputs[2 if is_by_sizes else 0]
    count = operation.integer("num_split")
    where = number(axis)
    is_odd = is_by_sizes and operation.inputs[1].kind is not StateKind.SAME
    if one.kind > StateKind.ROWS or where is None or is_odd:
        return [operation.mixed()] * count
    if one.shape is None:
        is_same = one.kind is not StateKind.ROWS
        return [State(one.kind) if is_same else operation.mixed("unknown rank")] * count
    where = place(where, len(one.shape))
    whole = one.shape[where]
    part = None if whole is None or is_by_sizes else quotient(whole, Size(count))
    if one.kind is not StateKind.ROWS:
        return [State(one.kind, _with_size(one.shape, where, part))] * count
    if where == one.axis:
        return [operation.mixed("along the batch")] * count
    return [rows(_with_size(one.shape, where, part), one.axis)] * count


RULES: dict[str, Rule] = {
    "Concat": concat,
    "ConcatV2": concat,
    "Pack": pack,
    "Split": split,
    "SplitV": split,
    "Unpack": unpack,
}
