"""Operations that make of each item what they would make of each row.

What is proved of rows, of however many, holds for the items of a partition, of which
there may be none: so only operations are taken that no empty tensor upsets.
"""

from collections.abc import Sequence

from gomlx.models.independence.operation import GraphOperation, Mixes
from gomlx.models.independence.partition import count_symbol, counted, parts
from gomlx.models.independence.rules import RULES
from gomlx.models.independence.rules.elementwise import elementwise
from gomlx.models.independence.sizes import BATCH, WHOLE_BATCH, Size, substituted
from gomlx.models.independence.state import (
    Shape,
    State,
    StateKind,
    holding,
    rows,
)

_NAMES = """
All Any BiasAdd ConcatV2 EuclideanNorm ExpandDims Gather GatherNd GatherV2 LogSoftmax
LookupTableFind LookupTableFindV2 MatMul Max Mean Min OneHot Pack Prod Reshape
ResourceGather Select Softmax Split SplitV Squeeze StridedSlice Sum Unpack
"""
_OF_SIZES = ("BroadcastTo", "Fill", "Tile")
_ELEMENTWISE = {name for name, rule in RULES.items() if rule is elementwise}
_ALL = {*_NAMES.split(), *_OF_SIZES, *_ELEMENTWISE}


def by_item(operation: GraphOperation) -> Sequence[State] | None:
    """Return what an operation makes of items; None if they are not all it takes."""
    partition = _partition(operation)
    if operation.op not in _ALL or not partition:
        return None
    given = [_as_rows(one, partition) for one in operation.inputs]
    known = [one for one in given if one is not None]
    if len(known) < len(given):
        return None
    try:
        outcome = RULES[operation.op](GraphOperation(operation.node, known))
    except Mixes:
        return None
    states = [outcome] if isinstance(outcome, State) else outcome
    found = [_as_items(one, partition) for one in states]
    return None if None in found else found  # type: ignore[return-value]


def _partition(operation: GraphOperation) -> str:
    """Return the partition whose items an operation takes; "" unless it is one."""
    taken = [one for one in operation.inputs if one.kind is StateKind.PARTS]
    names = {one.partition for one in taken}
    if operation.op in _OF_SIZES:
        contents = [one.content or () for one in operation.inputs]
        sizes = [size for content in contents for size in content if size]
        names |= {counted(symbol) for size in sizes for symbol in size.symbols} - {""}
    return names.pop() if len(names) == 1 else ""


def _as_rows(one: State, partition: str) -> State | None:
    """Return items as rows; None for what depends on rows or on other items."""
    if one.kind is StateKind.SAME:
        return one
    symbol = count_symbol(partition)
    if one.kind is StateKind.PARTS:
        return rows(_substituted(one.shape, symbol, BATCH))
    content = one.content
    if one.kind is not StateKind.MIXED or content is None:
        return None
    # Of no items, no other size can be said.
    has_open = Size(-1) in content
    has_batch = any(size is not None and size.batches for size in content)
    found = holding(_substituted(content, symbol, BATCH) or (), one.shape)
    return None if has_open or has_batch or found.kind is StateKind.MIXED else found


def _as_items(one: State, partition: str) -> State | None:
    if one.kind is StateKind.SAME:
        return one
    is_first = one.kind is StateKind.ROWS and one.axis == 0
    if not is_first or (one.shape and one.shape[0] != WHOLE_BATCH):
        return None
    return parts(partition, None if one.shape is None else one.shape[1:])


def _substituted(shape: Shape | None, old: str, new: str) -> Shape | None:
    if shape is None:
        return None
    return tuple(size and substituted(size, old, new) for size in shape)
