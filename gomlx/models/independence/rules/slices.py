"""Slices: parts of the other axes, the whole of the batch's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from gomlx.models.independence.operation import (
    GraphOperation,
    Outcome,
    Rule,
    number,
    numbers,
)
from gomlx.models.independence.partition import owners
from gomlx.models.independence.sizes import ONE, WHOLE_BATCH, Size
from gomlx.models.independence.state import (
    Content,
    Shape,
    State,
    StateKind,
    holding,
    rows,
    with_rows,
)

_MASKS = ("begin", "end", "ellipsis", "new_axis", "shrink_axis")


@dataclass(frozen=True)
class _Part:
    """What one entry of a slice does to a dimension.

    is_all: the whole of it, in order. Else how much is left is not known.
    """

    is_all: bool = False
    is_removed: bool = False
    is_new: bool = False


def strided_slice(operation: GraphOperation) -> Outcome:
    one, *bounds = operation.inputs
    are_same = operation.are_same(1, 2, 3)
    if one.content is not None and are_same:
        return _of_content(operation, one, one.content)
    if one.kind is StateKind.PLACES:
        return _owners(operation, one)
    if one.kind is StateKind.SPLITS:
        return _starts_or_ends(operation)
    operation.require(
        max(one.kind, *(bound.kind + 1 for bound in bounds)) <= StateKind.ROWS
    )
    entries = None if one.shape is None else _entries(operation, len(one.shape))
    if one.kind is not StateKind.ROWS:
        if entries is None or not are_same:
            return State(one.kind if are_same else StateKind.SIZE)
        return State(one.kind, _shape(one, entries)[0])
    operation.require(one.shape is not None, "unknown rank")
    operation.require(entries is not None, "bounds that are not known")
    shape, axis = _shape(one, entries or [])
    operation.require(axis is not None, "part of the batch")
    return rows(shape, axis or 0)


def _owners(operation: GraphOperation, places: State) -> State:
    """The first column of places: `places[:, 0]`."""
    begin, _, strides = (numbers(one) for one in operation.inputs[1:])
    masks = [operation.integer(f"{m}_mask") for m in ("begin", "end", "shrink_axis")]
    is_first = (begin, strides, masks) == ([0, 0], [1, 1], [1, 1, 2])
    operation.require(is_first)
    return owners(places.partition)


def _starts_or_ends(operation: GraphOperation) -> State:
    """`splits[:-1]` or `splits[1:]`."""
    splits, *bounds = operation.inputs
    begin, end, strides = map(numbers, bounds)
    masks = [operation.integer(f"{m}_mask") for m in ("begin", "end", "shrink_axis")]
    if (end, strides, masks) == ([-1], [1], [1, 0, 0]):
        return replace(splits, kind=StateKind.STARTS, shape=(WHOLE_BATCH,))
    operation.require((begin, strides, masks) == ([1], [1], [0, 1, 0]))
    return replace(splits, kind=StateKind.ENDS, shape=(WHOLE_BATCH,))


def _of_content(operation: GraphOperation, sizes: State, content: Content) -> State:
    """Slice a vector of sizes, or give sizes of any shape new dimensions."""
    entries = None if sizes.shape is None else _entries(operation, len(sizes.shape))
    if entries and all(part.is_all or part.is_new for part in entries):
        return holding(content, _shape(sizes, entries)[0])
    bounds = [numbers(one) for one in operation.inputs[1:]]
    are_single = all(bound is not None and len(bound) == 1 for bound in bounds)
    masks = [operation.integer(f"{m}_mask") for m in ("new_axis", "ellipsis")]
    if sizes.rank != 1 or not are_single or any(masks):
        operation.require(operation.worst <= StateKind.SIZE)
        return State(operation.worst)
    begin, end, stride = (bound[0] for bound in bounds if bound)
    if operation.integer("shrink_axis_mask"):
        found = content[begin : begin + 1] if begin >= 0 else content[begin:][:1]
        return holding(tuple(found), ())
    first = None if operation.integer("begin_mask") & 1 else begin
    last = None if operation.integer("end_mask") & 1 else end
    found = content[slice(first, last, stride)]
    return holding(tuple(found), (Size(len(found)),))


def _entries(operation: GraphOperation, rank: int) -> list[_Part] | None:
    """Return what each entry of the slice does, for every dimension and new one."""
    begin, end, strides = (one.content for one in operation.inputs[1:])
    if begin is None or end is None or strides is None:
        return None
    masks = {name: operation.integer(f"{name}_mask") for name in _MASKS}
    count = len(begin)
    new = sum(masks["new_axis"] >> i & 1 for i in range(count))
    has_ellipsis = any(masks["ellipsis"] >> i & 1 for i in range(count))
    missing = [_Part(is_all=True)] * (rank - (count - new - has_ellipsis))
    parts: list[_Part] = []
    for i in range(count):
        masked = {name for name in _MASKS if masks[name] >> i & 1}
        bounds = begin[i], end[i], strides[i]
        if _is_of_batch(bounds, masked):
            return None
        parts += missing if "ellipsis" in masked else [_part(bounds, masked)]
    return parts if has_ellipsis else parts + missing


def _part(bounds: Sequence[Size | None], masked: set[str]) -> _Part:
    """Return what an entry does: nothing with open bounds and a stride of 1."""
    first, _, stride = bounds
    if "new_axis" in masked:
        return _Part(is_new=True)
    if "shrink_axis" in masked:
        return _Part(is_removed=True)
    is_from_start = "begin" in masked or first == Size(0)
    return _Part(is_all=is_from_start and "end" in masked and stride == ONE)


def _is_of_batch(bounds: Sequence[Size | None], masked: set[str]) -> bool:
    """True when the batch's size decides what an entry takes."""
    if masked & {"ellipsis", "new_axis"}:
        return False
    first, last, stride = bounds
    is_one = "shrink_axis" in masked  # at `first`, whatever else is masked
    used = [stride]
    used += [] if "begin" in masked and not is_one else [first]
    used += [] if "end" in masked or is_one else [last]
    return any(one is not None and one.batches > 0 for one in used)


def _shape(one: State, parts: Sequence[_Part]) -> tuple[Shape, int | None]:
    """Return what shape is left, and where the whole axis of the rows is in it."""
    assert one.shape is not None
    kept: list[Size | None] = []
    axis = None
    dimension = 0
    for part in parts:
        if part.is_new:
            kept.append(ONE)
            continue
        if dimension == one.axis and part.is_all:
            axis = len(kept)
        if not part.is_removed:
            kept.append(one.shape[dimension] if part.is_all else None)
        dimension += 1
    return tuple(kept), axis


def slice_(operation: GraphOperation) -> Outcome:
    one, begin, sizes = operation.inputs
    is_known = (
        one.kind <= StateKind.ROWS and max(begin.kind, sizes.kind) <= StateKind.SIZE
    )
    operation.require(is_known)
    found = _taken(operation)
    if found is not None:
        return holding(found, (Size(len(found)),))
    if one.kind is not StateKind.ROWS:
        return State(one.kind) if operation.are_same(1, 2) else State(StateKind.SIZE)
    first = numbers(begin)
    if one.shape is None or first is None or sizes.content is None:
        return operation.mixed("bounds that are not known")
    taken = sizes.content[one.axis]
    if first[one.axis] or taken not in (Size(-1), one.shape[one.axis]):
        return operation.mixed("part of the batch")
    shape = _lengths(one.shape, first, sizes.content, one.axis)
    return with_rows(shape, one.axis, operation.mixed("as many as rows").reason)


def _taken(operation: GraphOperation) -> Content | None:
    """Return what a slice takes of a vector of sizes, where that can be said."""
    one, begin, sizes = operation.inputs
    first = number(begin)
    length = number(sizes)
    if one.content is None or one.rank != 1 or first is None or length is None:
        return None
    if first < 0 or length < -1:
        return None
    last = None if length == -1 else first + length
    return tuple(one.content[first:last])


def _lengths(shape: Shape, first: Sequence[int], sizes: Content, axis: int) -> Shape:
    found: list[Size | None] = []
    for i, (whole, begin, size) in enumerate(zip(shape, first, sizes, strict=True)):
        if i == axis or (size == Size(-1) and not begin):
            found.append(whole)
        elif size == Size(-1):
            is_known = whole is not None and whole.is_number
            found.append(Size(whole.number - begin) if whole and is_known else None)
        else:
            found.append(size)
    return tuple(found)


RULES: dict[str, Rule] = {"Slice": slice_, "StridedSlice": strided_slice}
