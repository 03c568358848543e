"""Operations that move elements, and those that compute shapes."""

from collections.abc import Sequence

from gomlx.models.independence.elementwise import broadcast
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
    SAME,
    Content,
    Shape,
    State,
    StateKind,
    holding,
    of_shape,
    rows,
    same,
    with_rows,
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
        return operation.mixed("the size of what depends on several rows")
    if one.shape is None or None in one.shape:
        return same(()) if one.kind is StateKind.SAME else State(StateKind.SIZE, ())
    return holding((product(s for s in one.shape if s is not None),), ())


def reshape(operation: GraphOperation) -> Outcome:
    """Rows stay rows while what is before the batch, and behind it, stays together."""
    one, target = operation.inputs
    if one.kind in (StateKind.OWNERS, StateKind.PARTS) and target.content == (
        Size(-1),
    ):
        return one  # a vector stays one
    if one.kind > StateKind.ROWS or target.kind > StateKind.SIZE:
        return operation.mixed()
    content = target.content
    if one.kind is not StateKind.ROWS:
        return _reshaped_without_rows(operation)
    if content is None:
        return operation.mixed("a shape that is not known")
    return _reshaped(one, _filled(one.shape, content)) or operation.mixed(
        "another axis"
    )


def _reshaped_without_rows(operation: GraphOperation) -> State:
    one, target = operation.inputs
    if operation.worst is StateKind.SIZE and one.kind is StateKind.SAME:
        return operation.mixed("a tensor without rows in the shape of the batch")
    shape = None if target.content is None else _filled(one.shape, target.content)
    if one.content is not None:
        return holding(one.content, shape)
    return State(one.kind, shape)


def _reshaped(one: State, target: Shape) -> State | None:
    axes = [i for i, s in enumerate(target) if s is not None and s.batches]
    if len(axes) != 1:
        return None
    axis = axes[0]
    found = with_rows(target, axis, "")
    if found.kind is not StateKind.ROWS:
        return None
    before = _product(target[:axis])
    if one.shape is None:
        return found if target[0] == WHOLE_BATCH else None
    if axis == 0 and one.axis == 0 and target[0] == WHOLE_BATCH:
        return found  # the rest of each row, in whatever shape
    is_aligned = before is not None and before == _product(one.shape[: one.axis])
    is_whole = None not in one.shape and None not in target
    if not is_aligned or not is_whole:
        return None
    return found if _product(one.shape) == _product(target) else None


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


def pack(operation: GraphOperation) -> Outcome:
    """Pack: equal shapes become one more dimension."""
    inputs = operation.inputs
    if operation.worst > StateKind.ROWS:
        return operation.mixed()
    first = inputs[0]
    if operation.worst < StateKind.ROWS:
        contents = [one.content for one in inputs]
        if all(one is not None and len(one) == 1 for one in contents):
            content = tuple(one[0] for one in contents if one)
            return holding(content, (Size(len(content)),))
        return State(operation.worst)
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
        return State(StateKind.SPLITS)
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
    return rows(_with(first.shape, where, _sum(lengths)), first.axis)


def _concat_without_rows(operation: GraphOperation, parts: Sequence[State]) -> State:
    contents = [one.content for one in parts]
    if any(one is None for one in contents):
        return State(operation.worst)
    content = tuple(size for one in contents if one for size in one)
    return holding(content, (Size(len(content)),))


def _sum(sizes: Sequence[Size | None]) -> Size | None:
    total = Size(0)
    for size in sizes:
        if size is None or not size.is_number:
            return None
        total = Size(total.number + size.number)
    return total


def _with(shape: Shape, axis: int, size: Size | None) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


def unpack(operation: GraphOperation) -> Outcome:
    (one,) = operation.inputs
    count = operation.integer("num")
    if one.kind > StateKind.ROWS:
        return [operation.mixed()] * count
    if one.content is not None and len(one.content) == count:
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
        return [State(one.kind, _with(one.shape, where, part))] * count
    if where == one.axis:
        return [operation.mixed("along the batch")] * count
    return [rows(_with(one.shape, where, part), one.axis)] * count


def tile(operation: GraphOperation) -> Outcome:
    one, multiples = operation.inputs
    if (
        one.kind > StateKind.ROWS
        or multiples.kind > StateKind.SIZE
        or one.kind is StateKind.SIZE
    ):
        return operation.mixed()
    if one.shape is None or multiples.content is None:
        return (
            SAME
            if operation.worst is StateKind.SAME
            else operation.mixed("unknown sizes")
        )
    pairs = zip(one.shape, multiples.content, strict=True)
    wider = tuple(None if s is None or m is None else product((s, m)) for s, m in pairs)
    if one.kind is StateKind.ROWS:
        if multiples.content[one.axis] != ONE:
            return operation.mixed("along the batch")
        return with_rows(wider, one.axis, operation.mixed().reason)
    return of_shape(wider, operation.mixed("along several axes").reason)


def broadcast_to(operation: GraphOperation) -> Outcome:
    one, target = operation.inputs
    if (
        one.kind > StateKind.ROWS
        or target.kind > StateKind.SIZE
        or one.kind is StateKind.SIZE
    ):
        return operation.mixed()
    if target.content is None or one.shape is None:
        return (
            SAME
            if operation.worst is StateKind.SAME
            else operation.mixed("unknown sizes")
        )
    wide = broadcast([one.shape, target.content])
    assert wide is not None
    if one.kind is StateKind.ROWS:
        from_last = len(one.shape) - one.axis
        if target.content[-from_last] != one.shape[one.axis]:
            return operation.mixed("along the batch")
        return with_rows(wide, len(wide) - from_last, operation.mixed().reason)
    found = of_shape(target.content, operation.mixed("along several axes").reason)
    if found.kind is StateKind.ROWS:
        from_last = len(target.content) - found.axis
        if len(one.shape) >= from_last and one.shape[-from_last] != ONE:
            return operation.mixed("along the batch")
    return found


def fill(operation: GraphOperation) -> Outcome:
    dims, value = operation.inputs
    if dims.kind > StateKind.SIZE or value.kind is not StateKind.SAME:
        return operation.mixed()
    if dims.content is None:
        return SAME if dims.kind is StateKind.SAME else operation.mixed("unknown sizes")
    found = of_shape(dims.content, operation.mixed("along several axes").reason)
    if found.kind is StateKind.SAME and value.content and dims.content == ():
        return holding(value.content, ())
    return found


def range_(operation: GraphOperation) -> Outcome:
    """Range: what counts the batch tells rows by their places."""
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


def pad(operation: GraphOperation) -> Outcome:
    """Pad, PadV2, MirrorPad: off the batch's axis."""
    one, paddings = operation.inputs[:2]
    if one.kind > StateKind.ROWS or not operation.are_same(
        *range(1, len(operation.inputs))
    ):
        return operation.mixed()
    if one.kind is not StateKind.ROWS:
        return State(one.kind)
    widths = numbers(paddings)
    if one.shape is None or widths is None:
        return operation.mixed("widths that are not known")
    pairs = [(widths[2 * i], widths[2 * i + 1]) for i in range(len(one.shape))]
    if pairs[one.axis] != (0, 0):
        return operation.mixed("along the batch")
    sizes = zip(one.shape, pairs, strict=True)
    return rows(tuple(_padded(size, sum(pair)) for size, pair in sizes), one.axis)


def _padded(size: Size | None, width: int) -> Size | None:
    if not width:
        return size
    return Size(size.number + width) if size and size.is_number else None


def reverse(operation: GraphOperation) -> Outcome:
    one, axes = operation.inputs
    where = numbers(axes)
    if one.kind > StateKind.ROWS or axes.kind is not StateKind.SAME:
        return operation.mixed()
    if one.kind is not StateKind.ROWS:
        return State(one.kind, one.shape)
    if one.shape is None or where is None:
        return operation.mixed("axes that are not known")
    if one.axis in [place(axis, len(one.shape)) for axis in where]:
        return operation.mixed("along the batch")
    return one


def reverse_sequence(operation: GraphOperation) -> Outcome:
    one, lengths = operation.inputs
    if one.kind is not StateKind.ROWS or lengths.kind not in (
        StateKind.SAME,
        StateKind.ROWS,
    ):
        return operation.mixed() if operation.worst > StateKind.SAME else SAME
    is_batch = operation.integer("batch_dim") == one.axis
    return one if is_batch and lengths.axis == 0 else operation.mixed()


RULES: dict[str, Rule] = {
    "BroadcastTo": broadcast_to,
    "Concat": concat,
    "ConcatV2": concat,
    "ExpandDims": expand_dims,
    "Fill": fill,
    "MirrorPad": pad,
    "Pack": pack,
    "Pad": pad,
    "PadV2": pad,
    "Range": range_,
    "Rank": rank,
    "Reshape": reshape,
    "ReverseSequence": reverse_sequence,
    "ReverseV2": reverse,
    "Shape": shape,
    "ShapeN": shape,
    "Size": size,
    "Split": split,
    "SplitV": split,
    "Squeeze": squeeze,
    "Tile": tile,
    "Transpose": transpose,
    "Unpack": unpack,
}
