"""Texts that are split into parts, and parts that are padded to a fixed width."""

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule
from gomlx.models.independence.sizes import VARYING, WHOLE_BATCH, Size
from gomlx.models.independence.state import State, StateKind, holding, rows


def string_split(operation: GraphOperation) -> Outcome:
    """StringSplitV2: places, parts, and a shape whose width is that of the longest."""
    text, separator = operation.inputs
    is_of_rows = text.kind is StateKind.ROWS and text.shape == (WHOLE_BATCH,)
    if not is_of_rows or separator.kind is not StateKind.SAME:
        return [operation.mixed()] * 3
    # What two splits give is never taken for one: a split is named by its text's node.
    partition = str(operation.node.name)
    widest = Size(1, (VARYING,))
    return [
        State(StateKind.PLACES, partition=partition),
        State(StateKind.PARTS, partition=partition),
        holding((WHOLE_BATCH, widest), (Size(2),)),
    ]


def ragged_to_tensor(operation: GraphOperation) -> Outcome:
    """RaggedTensorToTensor: rows of one width that no row decides."""
    shape, values, default, *partitions = operation.inputs
    kinds = [
        kind.decode() for kind in operation.attribute("row_partition_types").list.s
    ]
    is_known = shape.kind is StateKind.SAME and shape.content is not None
    if (
        not is_known
        or values.kind is not StateKind.PARTS
        or default.kind is not StateKind.SAME
    ):
        return operation.mixed()
    if kinds != ["FIRST_DIM_SIZE", "VALUE_ROWIDS"] or not _is_whole(values, partitions):
        return operation.mixed("parts of other rows")
    assert shape.content is not None
    height, *widths = shape.content
    if height != Size(-1) or len(widths) != 1 or default.rank != 0:
        return operation.mixed()
    if widths[0] is None or widths[0].number < 0:
        return operation.mixed("as wide as the longest row")
    return rows((WHOLE_BATCH, widths[0]))


def _is_whole(values: State, partitions: list[State]) -> bool:
    """True when there are as many rows as texts, and each has its own parts."""
    count, owners = partitions
    is_count = count.content == (WHOLE_BATCH,) and count.kind is StateKind.SIZE
    is_own = owners.kind is StateKind.OWNERS and owners.partition == values.partition
    return is_count and is_own


RULES: dict[str, Rule] = {
    "RaggedTensorToTensor": ragged_to_tensor,
    "StringSplitV2": string_split,
}
