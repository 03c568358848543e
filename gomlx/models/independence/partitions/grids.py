"""What each row has is repeated for each of its parts, as `tf.repeat` writes it.

    lengths ─► the longest ─► STEPS ──────► a GRID: which steps a row takes ─► where
    rows    ─► as wide as the longest ────► a GRID ─► what stands there: PARTS, OWNERS

The numbers of the rows are such values, too: repeated, they are the row of each part.
"""

from collections.abc import Callable
from dataclasses import replace

from gomlx.models.independence.operation import GraphOperation, Outcome, number, numbers
from gomlx.models.independence.partition import UNSURE, longest
from gomlx.models.independence.rules.elementwise import is_whole
from gomlx.models.independence.sizes import ONE, WHOLE_BATCH, Size
from gomlx.models.independence.state import State, StateKind, holding

_CONVERTED = frozenset(
    {
        StateKind.PLACES,
        StateKind.COLUMNS,
        StateKind.INTO,
        StateKind.NUMBERS,
        StateKind.STEPS,
    }
)


def _are_lengths(one: State) -> bool:
    """True for how many parts each row has, which is never negative."""
    is_known = one.kind is StateKind.ROWS and bool(one.partition)
    return is_known and not one.partition.endswith(UNSURE)


def cast(operation: GraphOperation) -> Outcome | None:
    """Cast of places and lengths to integers that hold them."""
    (one,) = operation.inputs
    is_kept = one.kind in _CONVERTED or _are_lengths(one)
    return one if is_kept and is_whole(operation) else None


def broadcast_to(operation: GraphOperation) -> Outcome | None:
    """BroadcastTo of lengths to as many as they are."""
    one, target = operation.inputs
    return one if _are_lengths(one) and one.shape == target.content else None


def maximum_of_all(operation: GraphOperation) -> Outcome | None:
    """Max of lengths."""
    one, axes = operation.inputs
    is_of_all = one.rank == 1 and numbers(axes) in ([0], [-1])
    if not _are_lengths(one) or not is_of_all or operation.flag("keep_dims"):
        return None
    return holding((longest(one.partition),), ())


def maximum(operation: GraphOperation) -> Outcome | None:
    """Maximum of 0 and a number of parts."""
    a, b = operation.inputs
    for one, other in ((a, b), (b, a)):
        is_count = one.content == (longest(_of(one)),) and one.rank == 0
        if is_count and other.rank == 0 and number(other) == 0:
            return one
    return None


def _of(one: State) -> str:
    """Return the partition whose longest row a number says, if it does."""
    (size, *_) = one.content or (None,)
    symbols = size.symbols if size else ()
    return symbols[0].partition(" ")[2] if len(symbols) == 1 else ""


def range_(operation: GraphOperation) -> Outcome | None:
    """Range: the numbers of the rows; the steps that the longest row takes."""
    first, limit, step = operation.inputs
    if number(first) != 0 or number(step) != 1 or limit.rank != 0:
        return None
    if limit.content == (WHOLE_BATCH,):
        return State(StateKind.NUMBERS, (WHOLE_BATCH,))
    partition = _of(limit)
    if limit.content != (longest(partition),):
        return None
    return State(StateKind.STEPS, limit.content, partition=partition)


def expand_dims(operation: GraphOperation) -> Outcome | None:
    """ExpandDims of lengths, or of the numbers of rows, to a column."""
    one, axis = operation.inputs
    is_known = _are_lengths(one) or one.kind is StateKind.NUMBERS
    if not is_known or one.shape != (WHOLE_BATCH,) or number(axis) not in (1, -1):
        return None
    return replace(one, shape=(WHOLE_BATCH, ONE))


def less(operation: GraphOperation) -> Outcome | None:
    """Less: which steps each row takes."""
    steps, one = operation.inputs
    is_known = steps.kind is StateKind.STEPS and _are_lengths(one)
    if not is_known or one.shape != (WHOLE_BATCH, ONE):
        return None
    if steps.rank != 1 or steps.partition != one.partition:
        return None
    return _grid(steps.partition, State(StateKind.STEPS))


def tile(operation: GraphOperation) -> Outcome | None:
    """Tile of a column, to as many as the longest row has parts."""
    one, multiples = operation.inputs
    is_known = one.kind in (StateKind.NUMBERS, StateKind.ROWS) and not one.axis
    is_column = is_known and one.shape and one.shape[:2] == (WHOLE_BATCH, ONE)
    content = multiples.content or ()
    if not is_column or one.shape is None or len(content) != len(one.shape):
        return None
    if one.kind is StateKind.NUMBERS and multiples.kind is StateKind.SAME:
        times = content[1]
        is_known = content[0] == ONE and times is not None and times.is_number
        is_more = is_known and times is not None and times.number > 0
        return replace(one, shape=(WHOLE_BATCH, times)) if is_more else None
    partition = _of(State(StateKind.SAME, content=content[1:2]))
    if content != (ONE, longest(partition), *[ONE] * (len(content) - 2)):
        return None
    return _grid(partition, State(one.kind), *one.shape[2:])


def _grid(partition: str, element: State, *rest: Size | None) -> State:
    shape = (WHOLE_BATCH, longest(partition), *rest)
    return State(StateKind.GRID, shape, element=element, partition=partition)


RULES: dict[str, Callable[[GraphOperation], Outcome | None]] = {
    "BroadcastTo": broadcast_to,
    "Cast": cast,
    "ExpandDims": expand_dims,
    "Less": less,
    "Max": maximum_of_all,
    "Maximum": maximum,
    "Range": range_,
    "Tile": tile,
}
