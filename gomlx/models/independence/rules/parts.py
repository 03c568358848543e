"""Texts that are split into parts or parsed, and parts that are padded to a width.

A partition is named by the node that splits: what two of them give is never taken for
one.
"""

from dataclasses import replace
from typing import Any

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule, number
from gomlx.models.independence.partition import longest, parts, places, splits
from gomlx.models.independence.sizes import WHOLE_BATCH, Size
from gomlx.models.independence.state import State, StateKind, holding, mixed, rows


def string_split(operation: GraphOperation) -> Outcome:
    """StringSplitV2: places, parts, and a shape whose width is that of the longest."""
    text, separator = operation.inputs
    is_of_rows = text.kind is StateKind.ROWS and text.shape == (WHOLE_BATCH,)
    if not is_of_rows or separator.kind is not StateKind.SAME:
        return [operation.mixed()] * 3
    partition = str(operation.node.name)
    shape = holding((WHOLE_BATCH, longest(partition)), (Size(2),))
    return [places(partition, 2), parts(partition), shape]


def unicode_decode(operation: GraphOperation) -> Outcome:
    """UnicodeDecode: where each text's characters begin, and the characters."""
    (text,) = operation.inputs
    if text.kind is not StateKind.ROWS or text.shape != (WHOLE_BATCH,):
        return [operation.mixed()] * 3
    partition = str(operation.node.name)
    return [splits(partition), parts(partition), parts(partition)]


def n_grams(operation: GraphOperation) -> Outcome:
    """StringNGrams: runs of each row's own parts, and where each row's begin."""
    data, bounds = operation.inputs
    are_own = bounds.kind is StateKind.SPLITS and bounds.partition
    operation.require(are_own and data.kind is StateKind.PARTS)
    operation.require(data.partition == bounds.partition, "parts of other rows")
    partition = str(operation.node.name)
    return [parts(partition), splits(partition)]


def ragged_bincount(operation: GraphOperation) -> Outcome:
    """RaggedBincount: how often each row has each number, in as many columns."""
    bounds, values, size, weights = operation.inputs
    operation.require(bounds.kind is StateKind.SPLITS and bounds.partition)
    operation.require(values.kind is StateKind.PARTS, "counts what are no parts")
    operation.require(values.partition == bounds.partition, "parts of other rows")
    operation.require(size.kind is StateKind.SAME and weights.is_empty)
    width = number(size)
    return rows((WHOLE_BATCH, None if width is None else Size(width)))


def decode_padded(operation: GraphOperation) -> Outcome:
    """DecodePaddedRaw: the bytes of each text as numbers, of one length for all."""
    texts, length = operation.inputs
    operation.require(texts.kind <= StateKind.ROWS and texts.kind is not StateKind.SIZE)
    operation.require(length.kind is StateKind.SAME and texts.shape is not None)
    assert texts.shape is not None
    return replace(texts, shape=(*texts.shape, None), content=None)


def parse_example(operation: GraphOperation) -> Outcome:
    """ParseExample: of each example, features of a fixed length and of any length."""
    example, *others = operation.inputs
    is_of_rows = example.kind is StateKind.ROWS and example.shape == (WHOLE_BATCH,)
    operation.require(is_of_rows)
    names = operation.inputs[1]
    operation.require(names.is_empty, "names of places in the batch")
    operation.require(all(one.kind is StateKind.SAME for one in others))
    count = "Nsparse" if operation.op == "ParseExample" else "num_sparse"
    found = [f"{operation.node.name}:{i}" for i in range(operation.integer(count))]
    return [
        *(places(one, 2) for one in found),
        *map(parts, found),
        *(holding((WHOLE_BATCH, longest(one)), (Size(2),)) for one in found),
        *map(_feature, operation.attribute("dense_shapes").list.shape),
        *_ragged_features(operation),
    ]


def _ragged_features(operation: GraphOperation) -> list[State]:
    """Return the states of the values of ragged features, and of their bounds."""
    if operation.op == "ParseExample":
        return []
    count = len(operation.attribute("ragged_value_types").list.type)
    found = [f"{operation.node.name}:ragged-{i}" for i in range(count)]
    return [*map(parts, found), *map(splits, found)]


def _feature(proto: Any) -> State:
    sizes = [int(dim.size) for dim in proto.dim]
    if proto.unknown_rank or any(size < 0 for size in sizes):
        return mixed("ParseExample: as long as the longest feature")
    return rows((WHOLE_BATCH, *map(Size, sizes)))


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
    if not _are_own(kinds, values, partitions):
        return operation.mixed("parts of other rows")
    assert shape.content is not None
    height, *widths = shape.content
    if height != Size(-1) or len(widths) != 1 or default.rank != 0:
        return operation.mixed()
    if widths[0] is None or widths[0].number < 0:
        return operation.mixed("as wide as the longest row")
    operation.require(values.shape is not None, "unknown rank")
    assert values.shape is not None
    return rows((WHOLE_BATCH, widths[0], *values.shape[1:]))


def _are_own(kinds: list[str], values: State, partitions: list[State]) -> bool:
    """True when each row has its own parts, in either way to say which they are."""
    if kinds == ["ROW_SPLITS"]:
        (bounds,) = partitions
        is_known = bounds.kind is StateKind.SPLITS and bounds.partition
        return bool(is_known and bounds.partition == values.partition)
    is_by_owner = kinds == ["FIRST_DIM_SIZE", "VALUE_ROWIDS"]
    return is_by_owner and _is_whole(values, partitions)


def _is_whole(values: State, partitions: list[State]) -> bool:
    """True when there are as many rows as texts, and each has its own parts."""
    count, owners = partitions
    is_count = count.content == (WHOLE_BATCH,) and count.kind is StateKind.SIZE
    is_own = owners.kind is StateKind.OWNERS and owners.partition == values.partition
    return is_count and is_own


RULES: dict[str, Rule] = {
    "DecodePaddedRaw": decode_padded,
    "ParseExample": parse_example,
    "ParseExampleV2": parse_example,
    "RaggedBincount": ragged_bincount,
    "UnicodeDecode": unicode_decode,
    "UnicodeDecodeWithOffsets": unicode_decode,
    "RaggedTensorToTensor": ragged_to_tensor,
    "StringNGrams": n_grams,
    "StringSplitV2": string_split,
}
