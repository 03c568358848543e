"""TensorLists, in which loops keep what they compute: one element a turn."""

from dataclasses import replace

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule
from gomlx.models.independence.sizes import WHOLE_BATCH, Size
from gomlx.models.independence.state import State, StateKind, joined, rows, same


def reserve(operation: GraphOperation) -> Outcome:
    """TensorListReserve, EmptyTensorList: as long as it is for every batch."""
    length = operation.inputs[1]
    if length.content == (WHOLE_BATCH,):
        return State(StateKind.LIST, element=State(StateKind.ROW))
    operation.require(length.kind is StateKind.SAME)
    return State(StateKind.LIST)


def from_tensor(operation: GraphOperation) -> Outcome:
    one = operation.inputs[0]
    if one.kind is StateKind.SAME:
        shape = None if one.shape is None else one.shape[1:]
        return State(StateKind.LIST, element=same(shape))
    operation.require(one.kind is StateKind.ROWS and one.shape is not None)
    assert one.shape is not None
    if one.axis == 0:
        operation.require(one.shape[0] == WHOLE_BATCH, "elements of several rows")
        return State(StateKind.LIST, element=State(StateKind.ROW, one.shape[1:]))
    return State(StateKind.LIST, element=rows(one.shape[1:], one.axis - 1))


def get(operation: GraphOperation) -> Outcome:
    one, index = operation.inputs[:2]
    operation.require(one.kind is StateKind.LIST and one.element is not None)
    assert one.element is not None
    wanted = StateKind.INDEX if one.element.kind is StateKind.ROW else StateKind.SAME
    operation.require(index.kind is wanted, "the element of another row")
    return one.element


def put(operation: GraphOperation) -> Outcome:
    one, index, item = operation.inputs[:3]
    operation.require(one.kind is StateKind.LIST)
    if one.element is not None and one.element.kind is StateKind.ROW:
        is_own = index.kind is StateKind.INDEX and item.kind in (
            StateKind.SAME,
            StateKind.ROW,
        )
        operation.require(is_own, "the element of another row")
        return replace(one, element=State(StateKind.ROW, item.shape))
    operation.require(index.kind is StateKind.SAME)
    return _with(operation, one, item)


def push(operation: GraphOperation) -> Outcome:
    one, item = operation.inputs
    operation.require(one.kind is StateKind.LIST and not _is_by_row(one))
    return _with(operation, one, item)


def _is_by_row(one: State) -> bool:
    return one.element is not None and one.element.kind is StateKind.ROW


def _with(operation: GraphOperation, one: State, item: State) -> State:
    if item.kind not in (StateKind.SAME, StateKind.ROWS):
        return operation.mixed()
    item = item.without_content()
    element = item if one.element is None else joined(one.element, item)
    if element.kind is StateKind.MIXED:
        return operation.mixed(element.reason)
    return replace(one, element=element)


def pop(operation: GraphOperation) -> Outcome:
    one = operation.inputs[0]
    operation.require(one.kind is StateKind.LIST and not _is_by_row(one))
    operation.require(one.element is not None)
    assert one.element is not None
    return [one, one.element]


def stack(operation: GraphOperation) -> Outcome:
    one = operation.inputs[0]
    element = one.element
    if one.kind is not StateKind.LIST or element is None:
        return operation.mixed()
    if element.kind is StateKind.SAME:
        return same(None)
    if element.kind is StateKind.ROW:
        shape = element.shape
        return rows(None if shape is None else (WHOLE_BATCH, *shape))
    if element.kind is not StateKind.ROWS or element.shape is None:
        return operation.mixed("unknown rank")
    length = operation.integer("num_elements")
    size = Size(length) if length > 0 else None
    return rows((size, *element.shape), element.axis + 1)


def length(operation: GraphOperation) -> Outcome:
    (one,) = operation.inputs
    operation.require(one.kind is StateKind.LIST)
    return State(StateKind.SIZE if _is_by_row(one) else StateKind.SAME, ())


RULES: dict[str, Rule] = {
    "EmptyTensorList": reserve,
    "TensorListFromTensor": from_tensor,
    "TensorListGetItem": get,
    "TensorListLength": length,
    "TensorListPopBack": pop,
    "TensorListPushBack": push,
    "TensorListReserve": reserve,
    "TensorListSetItem": put,
    "TensorListStack": stack,
}
