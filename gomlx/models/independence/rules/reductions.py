"""Operations over whole axes, none of which may be the batch's."""

from dataclasses import replace

from gomlx.models.independence.operation import (
    GraphOperation,
    Outcome,
    Rule,
    numbers,
    place,
)
from gomlx.models.independence.partition import UNSURE
from gomlx.models.independence.sizes import ONE, WHOLE_BATCH, product
from gomlx.models.independence.state import Shape, State, StateKind, holding, rows, same

_REDUCTIONS = "All Any EuclideanNorm Max Mean Min Prod ReduceJoin Sum"


def reduction(operation: GraphOperation) -> Outcome:
    """Sum and its like: the axes are an input."""
    one, axes = operation.inputs
    where = numbers(axes)
    is_vector = one.kind in (StateKind.PARTS, StateKind.OWNERS) and one.rank == 1
    if is_vector and where in ([0], [-1]):
        keeps = operation.flag("keep_dims")
        return operation.mixed() if keeps else operation.mixed_scalar()
    if one.kind > StateKind.ROWS or axes.kind is not StateKind.SAME:
        return operation.mixed()
    is_of_all = operation.op == "Prod" and one.rank == 1 and where in ([0], [-1])
    if is_of_all and one.content is not None and None not in one.content:
        shape = (ONE,) if operation.flag("keep_dims") else ()
        return holding((product(size for size in one.content if size),), shape)
    if one.shape is None or where is None:
        is_same = one.kind is not StateKind.ROWS
        return (
            State(one.kind) if is_same else operation.mixed("axes that are not known")
        )
    return _reduced(operation, one, where, operation.flag("keep_dims"))


def _reduced(
    operation: GraphOperation, one: State, axes: list[int], keeps: bool
) -> State:
    assert one.shape is not None
    found = {place(axis, len(one.shape)) for axis in axes}
    if one.kind is StateKind.ROWS and one.axis in found:
        is_scalar = len(found) == len(one.shape) and not keeps
        return replace(operation.over_rows(), shape=() if is_scalar else None)
    sizes = enumerate(one.shape)
    if keeps:
        kept: Shape = tuple(ONE if i in found else size for i, size in sizes)
        return replace(one, shape=kept, content=None)
    kept = tuple(size for i, size in sizes if i not in found)
    before = sum(axis < one.axis for axis in found) if one.kind is StateKind.ROWS else 0
    return replace(one, shape=kept, axis=one.axis - before, content=None)


def arg_extreme(operation: GraphOperation) -> Outcome:
    """ArgMax, ArgMin."""
    one, axis = operation.inputs
    where = numbers(axis)
    if one.kind > StateKind.ROWS or axis.kind is not StateKind.SAME:
        return operation.mixed()
    if one.shape is None or where is None:
        is_same = one.kind is not StateKind.ROWS
        return State(one.kind) if is_same else operation.mixed("an unknown axis")
    return _reduced(operation, one, where, False)


def along_axes(operation: GraphOperation) -> Outcome:
    """Cumsum, Cumprod and their like: the shape stays."""
    one, axis = operation.inputs
    where = numbers(axis)
    if one.kind > StateKind.ROWS or axis.kind is not StateKind.SAME:
        return operation.mixed()
    if one.kind is not StateKind.ROWS:
        return State(one.kind, one.shape)
    is_plain = operation.op == "Cumsum" and not operation.flag("exclusive")
    if is_plain and one.shape == (WHOLE_BATCH,) and not operation.flag("reverse"):
        partition = one.partition or f"{operation.node.name}{UNSURE}"
        return State(StateKind.TOTALS, one.shape, partition=partition)
    if one.shape is None or where is None:
        return operation.mixed("an axis that is not known")
    if one.axis in [place(a, len(one.shape)) for a in where]:
        return operation.over_rows("along the batch")
    return one.without_content()


def along_last(operation: GraphOperation) -> Outcome:
    """Softmax, LogSoftmax: over the last axis."""
    one = operation.inputs[0]
    if one.kind is StateKind.SAME:
        return same(one.shape)
    if one.kind is not StateKind.ROWS or one.shape is None:
        return operation.mixed()
    return one if one.axis < len(one.shape) - 1 else operation.over_rows()


def top_k(operation: GraphOperation) -> Outcome:
    """TopK, TopKV2: values and indices of the last axis."""
    one = operation.inputs[0]
    if one.kind is StateKind.SAME and operation.worst is StateKind.SAME:
        return [same(None), same(None)]
    is_aside = one.shape is not None and one.axis < len(one.shape) - 1
    has_size = all(other.kind is StateKind.SAME for other in operation.inputs[1:])
    if one.kind is not StateKind.ROWS or not is_aside or not has_size:
        return [operation.over_rows()] * 2
    assert one.shape is not None
    return [rows((*one.shape[:-1], None), one.axis)] * 2


def of_all(operation: GraphOperation) -> Outcome:
    """L2Loss, half the sum of all squares; how many entries a table has."""
    (one,) = operation.inputs
    return same(()) if one.kind is StateKind.SAME else operation.over_rows()


RULES: dict[str, Rule] = {
    **dict.fromkeys(("L2Loss", "LookupTableSize", "LookupTableSizeV2"), of_all),
    **dict.fromkeys(_REDUCTIONS.split(), reduction),
    **dict.fromkeys(("ArgMax", "ArgMin"), arg_extreme),
    **dict.fromkeys(("Cumsum", "Cumprod", "CumulativeLogsumexp"), along_axes),
    **dict.fromkeys(("Softmax", "LogSoftmax"), along_last),
    **dict.fromkeys(("TopK", "TopKV2"), top_k),
}
