"""Where something is: places of parts, and what is looked up at them."""

from collections.abc import Callable
from dataclasses import replace

from tensorflow.python.framework import dtypes

from gomlx.models.dataflow.elements import inputs
from gomlx.models.independence.operation import GraphOperation, Outcome, number
from gomlx.models.independence.partition import (
    EACH,
    as_parts,
    count,
    owners,
    parts,
    places,
)
from gomlx.models.independence.partitions.segments import points_into
from gomlx.models.independence.rules.layout import reshaped
from gomlx.models.independence.sizes import ONE, WHOLE_BATCH, Size, product
from gomlx.models.independence.state import Shape, State, StateKind, holding, rows

_WITH_SHAPES = frozenset(
    {
        StateKind.PARTS,
        StateKind.OWNERS,
        StateKind.PLACES,
        StateKind.COLUMNS,
        StateKind.INTO,
        StateKind.NUMBERS,
        StateKind.GRID,
        StateKind.SPLITS,
        StateKind.STARTS,
        StateKind.ENDS,
    }
)


def where(operation: GraphOperation) -> Outcome | None:
    """Where: the places at which a condition holds make a partition.

    It is named by the condition, so that several look-ups of the same places agree.
    """
    (condition,) = operation.inputs
    name, output = inputs(operation.node)[0]
    partition = f"{name}:{output}?"
    if condition.kind is StateKind.ROWS:
        shape = _of_batch(condition)
        if shape:
            return places(partition, len(shape))
    condition = as_parts(condition)
    if condition.kind is StateKind.PARTS and condition.rank == 1:
        return _into(partition, condition)
    if condition.kind is StateKind.GRID and condition.rank == 1:
        element = condition.element
        is_mask = element is not None and element.kind is StateKind.STEPS
        return _into(condition.partition, condition) if is_mask else None
    return None


def _of_batch(one: State) -> Shape:
    """Return the shape of rows whose first dimension is the batch; () for others."""
    is_of_rows = one.kind is StateKind.ROWS and not one.axis
    if not is_of_rows or not one.shape or one.shape[0] != WHOLE_BATCH:
        return ()
    return one.shape


def _into(partition: str, target: State) -> State:
    """Return a column of places in another tensor, one for each part."""
    target = replace(target, element=None)
    shape = count(partition), ONE
    return State(StateKind.INTO, shape, element=target, partition=partition)


def reshape(operation: GraphOperation) -> Outcome | None:
    """Reshape of a column of places to a vector, of places in any way, of a grid."""
    one, target = operation.inputs
    if one.kind is StateKind.GRID:
        return _flat_grid(one, target)
    if one.kind is StateKind.NUMBERS:
        return _flat_numbers(one, target)
    if one.kind is StateKind.INTO and not one.partition:
        found = reshaped(rows(one.shape), target)
        return found and replace(one, shape=found.shape, axis=found.axis)
    return _vector(one) if target.content == (Size(-1),) else None


def _flat_grid(grid: State, target: State) -> State | None:
    """Return a grid's elements one after the other."""
    assert grid.shape is not None
    rest = grid.shape[2:]
    whole = product(size for size in grid.shape[:2] if size)
    is_all = target.content == (Size(-1),) and not rest
    if not is_all and target.content != (whole, *rest):
        return None
    return replace(grid, shape=(whole, *rest))


def _flat_numbers(one: State, target: State) -> State | None:
    """Return the numbers of the rows, each as often as its row has places."""
    assert one.shape is not None
    whole = product(size for size in one.shape if size)
    if target.content not in ((Size(-1),), (whole,)) or None in one.shape:
        return None
    return owners(f"{EACH}{whole.number}")


def squeeze(operation: GraphOperation) -> Outcome | None:
    """Squeeze of a column of places."""
    (one,) = operation.inputs
    return _vector(one) if operation.integers("squeeze_dims") in ([1], [-1]) else None


def _vector(one: State) -> State | None:
    """Return a column of places as a vector."""
    if one.shape is None or one.shape[1:] != (ONE,):
        return None
    if one.kind is StateKind.INTO:
        return replace(one, shape=one.shape[:1])
    return owners(one.partition) if one.kind is StateKind.PLACES else None


def gather(operation: GraphOperation) -> Outcome | None:
    """Gather, GatherV2: at places of parts, or what each part's row has."""
    one, indices, *others = operation.inputs
    axis = number(others[0]) if others else 0
    has_batch_dims = operation.op != "Gather" and operation.integer("batch_dims")
    if axis != 0 or has_batch_dims:
        return None
    rest = None if one.shape is None else one.shape[1:]
    if indices.kind is StateKind.OWNERS and _of_batch(one):
        return parts(indices.partition, rest)
    if indices.kind is StateKind.OWNERS and one.partition == f"{EACH}1":
        return _at(one, indices, rest)  # as many items as rows
    if not points_into(indices, one):
        return None
    is_each = indices.element and indices.element.partition.startswith(EACH)
    return _at(as_parts(one) if is_each else one, indices, rest)


def _at(one: State, indices: State, rest: Shape | None) -> State | None:
    """Return what stands at places."""
    if not indices.partition:
        if rest is None or indices.shape is None:
            return None
        return rows((*indices.shape, *rest), indices.axis)
    if indices.rank != 1:
        return None
    kind = one.kind if one.element is None else one.element.kind
    if kind in (StateKind.OWNERS, StateKind.NUMBERS):
        return owners(indices.partition)
    if kind is StateKind.PLACES:
        shape = *(indices.shape or ()), *(rest or ())
        return replace(one, shape=shape, partition=indices.partition)
    is_value = kind in (StateKind.PARTS, StateKind.ROWS)
    return parts(indices.partition, rest) if is_value else None


def gather_nd(operation: GraphOperation) -> Outcome | None:
    """GatherNd: what stands at the places of parts, in their own rows."""
    one, at = operation.inputs
    shape = _of_batch(one)
    depth = at.shape[1] if at.kind is StateKind.PLACES and at.shape else None
    if depth is None or depth.number > len(shape):
        return None
    rest = shape[depth.number :]
    if at.partition == f"{EACH}1":
        return rows((WHOLE_BATCH, *rest))
    return parts(at.partition, rest)


def unique(operation: GraphOperation) -> Outcome | None:
    """Unique and its like: the values, and for each element the place of its value.

    Not of floats: of 0 and -0, which count as one value, the first is kept.
    """
    one, *axis = operation.inputs
    if axis and axis[0].content not in ((), (Size(0),)):
        return None
    dtype = dtypes.as_dtype(operation.attribute("T").type)
    is_exact = dtype.is_integer or dtype in (dtypes.bool, dtypes.string)
    is_vector = one.kind in (StateKind.ROWS, StateKind.PARTS) and one.rank == 1
    if not is_exact or not is_vector or one.axis:
        return None
    values = parts(str(operation.node.name))
    partition = one.partition if one.kind is StateKind.PARTS else ""
    into = State(StateKind.INTO, one.shape, element=values, partition=partition)
    return [values, into]


def shape(operation: GraphOperation) -> Outcome | None:
    (one,) = operation.inputs
    if one.kind not in _WITH_SHAPES or one.shape is None:
        return None
    return holding(one.shape, (Size(len(one.shape)),))


def pack(operation: GraphOperation) -> Outcome | None:
    """Pack: the number of each row and places in it."""
    first, *others = operation.inputs
    numbers = first
    if first.kind is StateKind.NUMBERS and first.shape == (WHOLE_BATCH,):
        numbers = owners(f"{EACH}1")
    is_each = numbers.kind is StateKind.OWNERS and numbers.partition.startswith(EACH)
    axis = operation.integer("axis")
    given = [as_parts(one) for one in others]
    own = parts(numbers.partition)
    if not is_each or not given or any(one != own for one in given):
        return None
    if axis in (1, -1):
        return places(numbers.partition, 1 + len(given))
    shape = Size(1 + len(given)), count(numbers.partition)
    return State(StateKind.COLUMNS, shape, partition=numbers.partition)


def transpose(operation: GraphOperation) -> Outcome | None:
    one, order = operation.inputs
    if one.kind is not StateKind.COLUMNS or not one.shape:
        return None
    depth = one.shape[0]
    is_turned = order.content == (ONE, Size(0)) and depth is not None
    return places(one.partition, depth.number) if is_turned and depth else None


RULES: dict[str, Callable[[GraphOperation], Outcome | None]] = {
    "Gather": gather,
    "GatherNd": gather_nd,
    "GatherV2": gather,
    "Pack": pack,
    "Reshape": reshape,
    "Shape": shape,
    "Squeeze": squeeze,
    "Transpose": transpose,
    "Unique": unique,
    "UniqueV2": unique,
    "UniqueWithCounts": unique,
    "UniqueWithCountsV2": unique,
    "Where": where,
}
