"""What is computed of each row's parts: sums, means and their like.

Without a number of rows, there are as many as the last part's row says: then each row
must have a part.
"""

from collections.abc import Callable

from gomlx.models.independence.operation import GraphOperation, Outcome
from gomlx.models.independence.partition import EACH, as_parts, has_all_rows
from gomlx.models.independence.sizes import WHOLE_BATCH
from gomlx.models.independence.state import Shape, State, StateKind, rows

_UNSORTED = "Join Max Min Prod Sum"
_SEGMENTS = """
SegmentMax SegmentMaxV2 SegmentMean SegmentMin SegmentMinV2 SegmentProd SegmentProdV2
SegmentSum SegmentSumV2
"""
_SPARSE = "SparseSegmentMean SparseSegmentSqrtN SparseSegmentSum"


def segments(operation: GraphOperation) -> Outcome | None:
    """UnsortedSegmentSum and its like: parts, the row of each, the number of rows."""
    data, ids, *number = operation.inputs
    data = as_parts(data)
    if data.kind is not StateKind.PARTS or data.partition != ids.partition:
        return None
    return _by_row(ids, number, None if data.shape is None else data.shape[1:])


def sparse_segments(operation: GraphOperation) -> Outcome | None:
    """SparseSegmentSum and its like: of rows of a table, which parts name."""
    table, indices, ids, *number = operation.inputs
    indices = as_parts(indices)
    if indices.partition != ids.partition or indices.rank != 1:
        return None
    is_same = table.kind is StateKind.SAME and indices.kind is StateKind.PARTS
    if not is_same and not points_into(indices, table):
        return None
    return _by_row(ids, number, None if table.shape is None else table.shape[1:])


def points_into(indices: State, one: State) -> bool:
    """True for places in this very tensor, or in another one of the same items."""
    target = indices.element
    if indices.kind is not StateKind.INTO or target is None:
        return False
    one = as_parts(one) if target.partition.startswith(EACH) else one
    if one.shape is None:  # of an unknown rank
        return one.kind is target.kind and one.partition == target.partition != ""
    if one.kind is not target.kind and not _have_places(one, target):
        return False
    is_own = one.partition == target.partition
    return is_own and not one.axis and one.shape[:1] == (target.shape or ())[:1]


def _have_places(one: State, target: State) -> bool:
    """True for what tells where parts are, instead of one thing for each of them."""
    is_of_parts = one.kind in (StateKind.OWNERS, StateKind.PLACES)
    return is_of_parts and target.kind is StateKind.PARTS


def _by_row(ids: State, number: list[State], rest: Shape | None) -> State | None:
    if ids.kind is not StateKind.OWNERS:
        return None
    has_all = has_all_rows(ids.partition)
    if number:
        has_all = number[0].content == (WHOLE_BATCH,)
    if not has_all:
        return None
    return rows(None if rest is None else (WHOLE_BATCH, *rest))


RULES: dict[str, Callable[[GraphOperation], Outcome | None]] = {
    **{f"UnsortedSegment{name}": segments for name in _UNSORTED.split()},
    **dict.fromkeys(_SEGMENTS.split(), segments),
    **dict.fromkeys(_SPARSE.split(), sparse_segments),
    **{f"{name}WithNumSegments": sparse_segments for name in _SPARSE.split()},
}
