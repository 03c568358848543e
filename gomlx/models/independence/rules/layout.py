"""Operations that change the dimensions, and no element."""

from collections.abc import Sequence

from gomlx.models.independence.operation import (
    GraphOperation,
    Outcome,
    Rule,
    number,
    numbers,
    place,
)
from gomlx.models.independence.sizes import ONE, WHOLE_BATCH, Size, product, quotient
from gomlx.models.independence.state import (
    Content,
    Shape,
    State,
    StateKind,
    holding,
    rows,
    same,
    with_rows,
)


def reshape(operation: GraphOperation) -> Outcome:
    """Rows stay rows while what is before the batch, and behind it, stays together."""
    one, target = operation.inputs
    is_vector = one.kind in (StateKind.OWNERS, StateKind.PARTS) and one.rank == 1
    if is_vector and target.content == (Size(-1),):
        return one  # it stays one
    if one.kind > StateKind.ROWS or target.kind > StateKind.SIZE:
        return operation.mixed()
    if one.kind is not StateKind.ROWS:
        return _reshaped_without_rows(operation)
    if target.content is None:
        return operation.mixed("a shape that is not known")
    return reshaped(one, target) or operation.mixed("another axis")


def _reshaped_without_rows(operation: GraphOperation) -> State:
    one, target = operation.inputs
    if operation.worst is StateKind.SIZE and one.kind is StateKind.SAME:
        return operation.mixed("a tensor without rows in the shape of the batch")
    shape = None if target.content is None else _filled(one.shape, target.content)
    if one.content is not None:
        return holding(one.content, shape)
    return State(one.kind, shape)


def reshaped(one: State, target: State) -> State | None:
    """Return rows of another shape; None unless each stays together."""
    if target.content is None:
        return None
    return _reshaped(one, _filled(one.shape, target.content))


def _reshaped(one: State, target: Shape) -> State | None:
    axes = [i for i, s in enumerate(target) if s is not None and s.batches]
    if len(axes) != 1:
        return None
    axis = axes[0]
    found = with_rows(target, axis, "")
    if found.kind is not StateKind.ROWS:
        return None
    if target[0] == WHOLE_BATCH and one.axis == 0:
        return found  # the rest of each row, in whatever shape
    return found if one.shape and _is_aligned(one, one.shape, target, axis) else None


def _is_aligned(one: State, shape: Shape, target: Shape, axis: int) -> bool:
    """True when as many elements lie before the batch, and as many in all."""
    if None in shape or None in target:
        return False
    is_aligned = _product(target[:axis]) == _product(shape[: one.axis])
    return is_aligned and _product(shape) == _product(target)


def _product(sizes: Sequence[Size | None]) -> Size | None:
    known = [size for size in sizes if size is not None]
    return product(known) if len(known) == len(sizes) else None


def _filled(shape: Shape | None, content: Content) -> Shape:
    """Put the size in the place of -1, as far as it can be said."""
    if Size(-1) not in content:
        return content
    whole = None if shape is None else _product(shape)
    others = _product([one for one in content if one != Size(-1)])
    rest = None if whole is None or others is None else quotient(whole, others)
    return tuple(rest if one == Size(-1) else one for one in content)


def expand_dims(operation: GraphOperation) -> Outcome:
    one, axis = operation.inputs
    where = number(axis)
    if one.kind > StateKind.ROWS or where is None:
        return operation.mixed()
    if one.shape is None:
        return (
            same(None)
            if one.kind is StateKind.SAME
            else operation.mixed("unknown rank")
        )
    where = place(where, len(one.shape) + 1)
    wider = (*one.shape[:where], ONE, *one.shape[where:])
    if one.kind is StateKind.ROWS:
        return rows(wider, one.axis + (where <= one.axis))
    return State(one.kind, wider, content=one.content)


def squeeze(operation: GraphOperation) -> Outcome:
    (one,) = operation.inputs
    operation.require(one.kind <= StateKind.ROWS)
    is_of_rows = one.kind is StateKind.ROWS
    given = operation.integers("squeeze_dims")
    if one.shape is None or not given:
        operation.require(not is_of_rows, "a batch of one would lose its dimension")
        return State(one.kind, content=one.content)
    axes = [place(axis, len(one.shape)) for axis in given]
    kept = tuple(s for i, s in enumerate(one.shape) if i not in axes)
    if not is_of_rows:
        return State(one.kind, kept, content=one.content)
    operation.require(one.axis not in axes, "the batch's dimension")
    return rows(kept, one.axis - sum(axis < one.axis for axis in axes))


def transpose(operation: GraphOperation) -> Outcome:
    one, order = operation.inputs
    if one.kind > StateKind.ROWS or order.kind is not StateKind.SAME:
        return operation.mixed()
    places = numbers(order)
    if one.kind is not StateKind.ROWS:
        return State(one.kind)
    if places is None or one.shape is None:
        return operation.mixed("an order that is not known")
    moved = tuple(one.shape[i] for i in places)
    return rows(moved, places.index(one.axis))


RULES: dict[str, Rule] = {
    "ExpandDims": expand_dims,
    "Reshape": reshape,
    "Squeeze": squeeze,
    "Transpose": transpose,
}
