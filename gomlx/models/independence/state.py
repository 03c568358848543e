"""What a tensor is with respect to the batch.

    SAME     neither a row's values nor the size of the batch: constants, weights
    SIZE     computed of the size of the batch; it may only be used as a shape
    ROWS     along `axis` lie the rows, and what lies at row i depends on row i only
    LIST     a TensorList whose elements are all as `element` says
    PARTS    items of rows one after the other, as many as each row has: the parts of
             texts that were split, and what is computed of each (partition.py)
    OWNERS   the row of each part
    PLACES   the row of each part, and its place there: a matrix
    COLUMNS  the same, transposed
    INTO     the places of parts, or of rows, in another tensor, `element`
    NUMBERS  the number of each row
    STEPS    0, 1, 2, … to the number of parts of the longest row
    GRID     a matrix as wide as the longest row has parts: at each place what the row
             has, as `element` says, or STEPS, whether it has so many parts
    TOTALS   a number of each row with those of all rows before it
    SPLITS   where each row's parts begin, and where the last ones end
    STARTS   where each row's parts begin
    ENDS     where they end
    ROW      in a loop over the rows: what is computed of the turn's own row
    INDEX    the number of that row
    NEXT     the number of the row of the next turn
    MIXED    anything else: a row's part may depend on its neighbours

The kinds are ordered: whatever is computed from a tensor is at least as bad.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

from gomlx.models.independence.sizes import Size

Shape = tuple[Size | None, ...]  # None: a size that is SAME, but unknown
Content = tuple[Size | None, ...]  # likewise


class StateKind(IntEnum):
    """See the module's docstring."""

    SAME = 0
    SIZE = 1
    ROWS = 2
    LIST = 3
    PARTS = 4
    OWNERS = 5
    PLACES = 6
    COLUMNS = 7
    INTO = 8
    NUMBERS = 9
    STEPS = 10
    GRID = 11
    TOTALS = 12
    SPLITS = 13
    STARTS = 14
    ENDS = 15
    ROW = 16
    INDEX = 17
    NEXT = 18
    MIXED = 19


@dataclass(frozen=True)
class State:
    """One tensor. shape is None for an unknown rank.

    axis: where the batch is, of ROWS; each row has `shape[axis] / batch` places in
    succession there. content: the sizes that a small tensor of integers holds, flat,
    as far as they are known. least: of a MIXED integer, a size that it is not below.
    element: of a LIST (a ROW if there is one for each row), a GRID, or INTO. partition:
    which parts are meant. reason: of MIXED, the operation. is_listwise: of MIXED,
    whether floats of all rows were computed with.
    """

    kind: StateKind
    shape: Shape | None = None
    axis: int = 0
    content: Content | None = None
    element: "State | None" = None
    partition: str = ""
    least: Size | None = None
    reason: str = ""
    is_listwise: bool = False

    @property
    def rank(self) -> int | None:
        return None if self.shape is None else len(self.shape)

    @property
    def is_empty(self) -> bool:
        """True for a list without elements, for every batch."""
        return self.kind is StateKind.SAME and self.shape == (Size(0),)

    def without_content(self) -> "State":
        return replace(self, content=None)


SAME = State(StateKind.SAME)
SIZE = State(StateKind.SIZE)


def mixed(reason: str, is_listwise: bool = False) -> State:
    """Return the state of what a row's neighbours may change."""
    return State(StateKind.MIXED, reason=reason, is_listwise=is_listwise)


def anything(state: State) -> State:
    """Return MIXED for the reason of a state, of which nothing else is known."""
    return mixed(state.reason, state.is_listwise)


def worst(states: Sequence[State]) -> State:
    """Return the first state of the worst kind; a listwise one is worse than MIXED."""
    return max(states, key=lambda one: (one.kind, one.is_listwise))


def rows(shape: Shape | None, axis: int = 0) -> State:
    """Return the state of a tensor with the batch at an axis."""
    return State(StateKind.ROWS, shape, axis)


def same(shape: Shape | None, content: Content | None = None) -> State:
    """Return the state of a tensor that is the same for every batch."""
    return State(StateKind.SAME, shape, content=content)


def holding(content: Content, shape: Shape | None) -> State:
    """Return the state of integers: SIZE if the batch is part of one of them."""
    known = [size for size in content if size is not None]
    if any(size.varies for size in known):
        return State(StateKind.MIXED, shape, content=content)
    depends = any(size.batches for size in known)
    return State(StateKind.SIZE if depends else StateKind.SAME, shape, content=content)


def of_shape(shape: Shape, reason: str) -> State:
    """Return the state of a tensor whose rows, if it has any, are all alike."""
    axes = [i for i, size in enumerate(shape) if size is not None and size.batches]
    if not axes:
        return same(shape)
    return with_rows(shape, axes[0], reason)


def with_rows(shape: Shape | None, axis: int, reason: str) -> State:
    """Return ROWS if the batch is at the axis, once, and at no other; else MIXED."""
    if shape is None:
        return rows(None) if axis == 0 else mixed(reason)
    powers = [0 if size is None else size.batches for size in shape]
    if powers[axis : axis + 1] == [1] and sum(powers) == 1:
        return rows(shape, axis)
    return mixed(reason)


def joined(a: State, b: State) -> State:
    """Return what holds for a tensor that is the one or the other."""
    if a == b or StateKind.MIXED in (a.kind, b.kind):
        return a if a == b else anything(worst((a, b)))
    if a.kind is not b.kind or a.kind > StateKind.LIST:
        return mixed(f"{a.kind.name.lower()} or {b.kind.name.lower()}")
    if a.kind is StateKind.LIST:
        return _joined_lists(a, b)
    shape = _joined_shapes(a.shape, b.shape)
    if a.kind is not StateKind.ROWS:
        return State(a.kind, shape)
    is_other = a.axis != b.axis or (a.shape is None) != (b.shape is None)
    if is_other or (shape is None and a.shape is not None):
        return mixed("rows along different axes")
    return with_rows(shape, a.axis, "rows of different numbers of elements")


def all_joined(states: Sequence[State]) -> State:
    """Return what holds for a tensor that is one of several."""
    found = states[0]
    for state in states[1:]:
        found = joined(found, state)
    return found


def _joined_lists(a: State, b: State) -> State:
    if a.element is None or b.element is None:
        return a if b.element is None else b
    return State(StateKind.LIST, element=joined(a.element, b.element))


def _joined_shapes(a: Shape | None, b: Shape | None) -> Shape | None:
    if a is None or b is None or len(a) != len(b):
        return None
    return tuple(x if x == y else None for x, y in zip(a, b, strict=True))
