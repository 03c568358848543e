"""Partitions: which items of a tensor belong to which row.

A partition has a name, and each of its items one row: what two operations cut is never
taken for one partition. The items of a row lie together, in the order of the rows, and
how many a row has depends on that row alone. Where values are made unique, the items
are the values: they belong to no row, and so nothing says where those of a row begin.

A name that ends in FILLED has an item of each row, one that ends in UNSURE was made of
numbers that may be negative. One that begins with EACH has as many items of each row,
and is the same wherever it comes from: so rows that have several places in succession
are parts, too.
"""

from collections.abc import Callable
from dataclasses import replace

from gomlx.models.independence.sizes import BOUNDS, VARYING, WHOLE_BATCH, Size
from gomlx.models.independence.state import Shape, State, StateKind

FILLED = "+"
UNSURE = "~"
EACH = "="
_COUNT = f"{VARYING}parts "
_WIDTH = f"{VARYING}longest "


def count_symbol(partition: str) -> str:
    """Name the number of a partition's items in a size."""
    return f"{_COUNT}{partition}"


def counted(symbol: str) -> str:
    """Return the partition whose items a symbol counts; "" for another symbol."""
    return symbol.removeprefix(_COUNT) if symbol.startswith(_COUNT) else ""


def count(partition: str) -> Size:
    """Return how many items there are of all rows."""
    return Size(1, (count_symbol(partition),))


def longest(partition: str) -> Size:
    """Return how many items the row has that has most."""
    return Size(1, (f"{_WIDTH}{partition}",))


def parts(partition: str, rest: Shape | None = ()) -> State:
    """Return the state of something for each item; rest: the shape of one."""
    shape = None if rest is None else (count(partition), *rest)
    return State(StateKind.PARTS, shape, partition=partition)


def owners(partition: str) -> State:
    return State(StateKind.OWNERS, (count(partition),), partition=partition)


def places(partition: str, depth: int) -> State:
    """Return the state of the places of items in a tensor of `depth` dimensions."""
    shape = (count(partition), Size(depth))
    return State(StateKind.PLACES, shape, partition=partition)


def splits(partition: str) -> State:
    return State(StateKind.SPLITS, (BOUNDS,), partition=partition)


def lengths(partition: str) -> State:
    """Return the state of how many items each row has."""
    return State(StateKind.ROWS, (WHOLE_BATCH,), partition=partition)


def as_parts(one: State) -> State:
    """Return rows as parts, if each has as many places along the first axis."""
    size = one.shape[0] if one.kind is StateKind.ROWS and one.shape else None
    if size is None or one.axis or size.symbols != WHOLE_BATCH.symbols:
        return one
    assert one.shape is not None
    return parts(f"{EACH}{size.number}", one.shape[1:])


def has_all_rows(partition: str) -> bool:
    """True when each row has an item."""
    return partition.endswith(FILLED) or partition.startswith(EACH)


def renamed(state: State, rename: Callable[[str], str]) -> State:
    """Return a state whose partitions have other names, wherever it mentions them."""

    def size_of(size: Size | None) -> Size | None:
        if size is None or not size.varies:
            return size
        return Size(size.number, tuple(sorted(map(symbol_of, size.symbols))))

    def symbol_of(symbol: str) -> str:
        what, blank, partition = symbol.partition(" ")
        is_known = symbol.startswith(VARYING)
        return f"{what}{blank}{name_of(partition)}" if is_known else symbol

    def name_of(partition: str) -> str:
        return partition if partition.startswith(EACH) else rename(partition)

    is_named = bool(state.partition) and state.kind is not StateKind.SIZE
    return replace(
        state,
        shape=None if state.shape is None else tuple(map(size_of, state.shape)),
        content=None if state.content is None else tuple(map(size_of, state.content)),
        element=None if state.element is None else renamed(state.element, rename),
        partition=name_of(state.partition) if is_named else state.partition,
    )
