"""Operations that compute shapes, and what has a computed shape."""

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule, number
from gomlx.models.independence.sizes import Size, product
from gomlx.models.independence.state import (
    SAME,
    State,
    StateKind,
    holding,
    of_shape,
    same,
)

_LONGEST = 64  # elements of a tensor whose content is followed


def shape(operation: GraphOperation) -> Outcome:
    """Shape, ShapeN: the sizes of a tensor that does not depend on other rows."""
    return [_shape(operation, one) for one in operation.inputs]


def _shape(operation: GraphOperation, one: State) -> State:
    if one.kind > StateKind.ROWS:
        return operation.mixed("the shape of what depends on several rows")
    if one.shape is None:
        return SAME if one.kind is StateKind.SAME else State(StateKind.SIZE)
    return holding(one.shape, (Size(len(one.shape)),))


def rank(operation: GraphOperation) -> Outcome:
    (one,) = operation.inputs
    if one.rank is None:
        return operation.mixed() if one.kind > StateKind.ROWS else same(())
    return holding((Size(one.rank),), ())


def size(operation: GraphOperation) -> Outcome:
    (one,) = operation.inputs
    if one.kind > StateKind.ROWS:
        return operation.mixed_scalar("the size of what depends on several rows")
    if one.shape is None or None in one.shape:
        return same(()) if one.kind is StateKind.SAME else State(StateKind.SIZE, ())
    return holding((product(s for s in one.shape if s is not None),), ())


def fill(operation: GraphOperation) -> Outcome:
    dims, value = operation.inputs
    if dims.kind > StateKind.SIZE or value.kind is not StateKind.SAME:
        return operation.mixed()
    if dims.content is None:
        return SAME if dims.kind is StateKind.SAME else operation.mixed("unknown sizes")
    found = of_shape(dims.content, operation.mixed("along several axes").reason)
    count = product(size for size in dims.content if size)
    is_short = None not in dims.content and count.is_number and count.number <= _LONGEST
    if found.kind is StateKind.SAME and value.content and is_short:
        return holding(value.content * count.number, dims.content)
    return found


def range_(operation: GraphOperation) -> Outcome:
    """Range: what counts the batch gives each row a number."""
    if operation.worst > StateKind.SAME:
        return operation.mixed("counts the batch")
    bounds = [number(one) for one in operation.inputs]
    if None in bounds or not bounds[2]:
        return same((None,))
    first, limit, step = (bound or 0 for bound in bounds)
    found = range(first, limit, step)
    if len(found) > _LONGEST:
        return same((Size(len(found)),))
    return same((Size(len(found)),), tuple(map(Size, found)))


RULES: dict[str, Rule] = {
    "Fill": fill,
    "Range": range_,
    "Rank": rank,
    "Shape": shape,
    "ShapeN": shape,
    "Size": size,
}
