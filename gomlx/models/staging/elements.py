"""What TensorFlow's operations do with the elements that they take.

An operation hands elements on when those it puts out are elements that it took,
whatever their number and order.
"""

from typing import Any

from tensorflow.python.framework import dtypes

_ALL = slice(None)
_FIRST = slice(1)
# Operations that hand elements on, and which of their inputs hold those elements.
_HANDS_ON = {
    **dict.fromkeys(
        (
            *("Identity", "RefIdentity", "StopGradient", "Snapshot", "EnsureShape"),
            *("PlaceholderWithDefault", "Reshape", "Squeeze", "ExpandDims"),
            *("Transpose", "Tile", "BroadcastTo", "Slice", "StridedSlice", "Unpack"),
            *("GatherV2", "Gather", "GatherNd", "SplitV", "ReverseV2"),
            *("Enter", "RefEnter", "Exit", "RefExit", "Switch", "RefSwitch"),
            *("NextIteration", "RefNextIteration"),
        ),
        _FIRST,
    ),
    **dict.fromkeys(("Merge", "RefMerge", "Pack"), _ALL),
    **dict.fromkeys(("Select", "SelectV2", "Concat", "Split"), slice(1, None)),
    "ConcatV2": slice(-1),
}
# Of these, the ones with no other source of elements than their first input.
_ONE_SOURCE = {op for op, slots in _HANDS_ON.items() if slots == _FIRST} - {
    "PlaceholderWithDefault"
}
_WIDER = {
    "int8": {"int16", "int32", "int64"},
    "int16": {"int32", "int64"},
    "int32": {"int64"},
    "uint8": {"int16", "int32", "int64", "uint16", "uint32", "uint64"},
    "uint16": {"int32", "int64", "uint32", "uint64"},
    "uint32": {"int64", "uint64"},
    "float16": {"float32", "float64"},
    "bfloat16": {"float32", "float64"},
    "float32": {"float64"},
}
# What these give does not depend on the elements, only on how many there are.
BLIND = frozenset({"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"})
Tensor = tuple[str, int]  # node, output


def carrying_slots(node: Any) -> range:
    """Return which inputs of an operation have their elements handed on."""
    slots = _FIRST if is_lossless_cast(node) else _HANDS_ON.get(node.op, slice(0))
    return range(len(inputs(node)))[slots]


def is_handed_on(node: Any) -> bool:
    """True when an operation puts out elements of its first input and no others."""
    return node.op in _ONE_SOURCE or is_lossless_cast(node)


def is_lossless_cast(node: Any) -> bool:
    """True for a Cast between numbers that keeps every one of them what it is."""
    if node.op != "Cast":
        return False
    source, target = (dtypes.as_dtype(node.attr[a].type).name for a in ("SrcT", "DstT"))
    return source == target or target in _WIDER.get(source, ())


def inputs(node: Any) -> list[Tensor]:
    """Return the tensors that a node takes; control dependencies are none."""
    return [split(name) for name in node.input if not name.startswith("^")]


def split(tensor: str) -> Tensor:
    name, _, output = tensor.partition(":")
    return name, int(output or 0)
