"""Operations that repeat, pad or turn the elements of an axis."""

from gomlx.models.independence.operation import (
    GraphOperation,
    Outcome,
    Rule,
    numbers,
    place,
)
from gomlx.models.independence.rules.elementwise import broadcast
from gomlx.models.independence.sizes import ONE, Size, product
from gomlx.models.independence.state import (
    SAME,
    State,
    StateKind,
    of_shape,
    rows,
    with_rows,
)


def _require_sizes(operation: GraphOperation) -> None:
    """Raise Mixes unless rows, or what has none, are repeated as sizes say."""
    one, sizes = operation.inputs
    operation.require(one.kind in (StateKind.SAME, StateKind.ROWS))
    operation.require(sizes.kind <= StateKind.SIZE)


def _of_unknown_sizes(operation: GraphOperation) -> State:
    operation.require(operation.worst is StateKind.SAME, "unknown sizes")
    return SAME


def tile(operation: GraphOperation) -> Outcome:
    _require_sizes(operation)
    one, multiples = operation.inputs
    if one.shape is None or multiples.content is None:
        return _of_unknown_sizes(operation)
    pairs = list(zip(one.shape, multiples.content, strict=True))
    if any(s is None and m is not None and m.batches for s, m in pairs):
        return operation.mixed("as often as there are rows")
    wider = tuple(None if s is None or m is None else product((s, m)) for s, m in pairs)
    if one.kind is StateKind.ROWS:
        if multiples.content[one.axis] != ONE:
            return operation.mixed("along the batch")
        return with_rows(wider, one.axis, operation.mixed().reason)
    return of_shape(wider, operation.mixed("along several axes").reason)


def broadcast_to(operation: GraphOperation) -> Outcome:
    _require_sizes(operation)
    one, target = operation.inputs
    if one.shape is None or target.content is None:
        return _of_unknown_sizes(operation)
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
    if operation.worst is StateKind.SAME:
        return SAME
    # Constant lengths belong to places in the batch.
    are_rows = one.kind is StateKind.ROWS and lengths.kind is StateKind.ROWS
    is_batch = operation.integer("batch_dim") == one.axis
    return one if are_rows and is_batch and lengths.axis == 0 else operation.mixed()


RULES: dict[str, Rule] = {
    "BroadcastTo": broadcast_to,
    "MirrorPad": pad,
    "Pad": pad,
    "PadV2": pad,
    "ReverseSequence": reverse_sequence,
    "ReverseV2": reverse,
    "Tile": tile,
}
