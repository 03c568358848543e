"""What each type of TensorFlow operation does with the elements of its inputs.

An operation *forwards* the elements of an input if its outputs consist of them, in
whatever number and order.
"""

from collections.abc import Container, Iterator
from typing import Any

import numpy as np
from tensorflow.python.framework import dtypes

from gomlx.contract.tensor import Scalar

_ALL = slice(None)
_FIRST = slice(1)
# Operation → which of its inputs hold the elements that it forwards.
_FORWARDED = {
    "BroadcastTo": _FIRST,
    "Concat": slice(1, None),
    "ConcatV2": slice(-1),
    "EnsureShape": _FIRST,
    "Enter": _FIRST,
    "Exit": _FIRST,
    "ExpandDims": _FIRST,
    "Gather": _FIRST,
    "GatherNd": _FIRST,
    "GatherV2": _FIRST,
    "Identity": _FIRST,
    "Merge": _ALL,
    "NextIteration": _FIRST,
    "Pack": _ALL,
    "PlaceholderWithDefault": _FIRST,
    "RefEnter": _FIRST,
    "RefExit": _FIRST,
    "RefIdentity": _FIRST,
    "RefMerge": _ALL,
    "RefNextIteration": _FIRST,
    "RefSwitch": _FIRST,
    "Reshape": _FIRST,
    "ReverseV2": _FIRST,
    "Select": slice(1, None),
    "SelectV2": slice(1, None),
    "Slice": _FIRST,
    "Snapshot": _FIRST,
    "Split": slice(1, None),
    "SplitV": _FIRST,
    "Squeeze": _FIRST,
    "StopGradient": _FIRST,
    "StridedSlice": _FIRST,
    "Switch": _FIRST,
    "Tile": _FIRST,
    "Transpose": _FIRST,
    "Unpack": _FIRST,
}
# Those of them that have no other source of elements than their first input.
_ONE_SOURCE = {op for op, slots in _FORWARDED.items() if slots == _FIRST} - {
    "PlaceholderWithDefault"
}
# dtype → the dtypes that hold each of its numbers exactly.
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
# Operations whose outputs depend on how many elements there are, and not on which.
SHAPE_ONLY = frozenset({"OnesLike", "Rank", "Shape", "ShapeN", "Size", "ZerosLike"})
NodeOutput = tuple[str, int]  # node, output


def forwarded_slots(node: Any) -> range:
    """Return the numbers of the inputs whose elements a node forwards."""
    slots = _FIRST if is_lossless_cast(node) else _FORWARDED.get(node.op, slice(0))
    return range(len(inputs(node)))[slots]


def forwards_first_input(node: Any) -> bool:
    """True if the outputs of a node consist of elements of its first input alone."""
    return node.op in _ONE_SOURCE or is_lossless_cast(node)


def is_lossless_cast(node: Any) -> bool:
    """True for a Cast to a dtype that holds every number of the original exactly."""
    if node.op != "Cast":
        return False
    source = dtypes.as_dtype(node.attr["SrcT"].type).name
    target = dtypes.as_dtype(node.attr["DstT"].type).name
    return source == target or target in _WIDER.get(source, ())


def inputs(node: Any) -> list[NodeOutput]:
    """Return the tensors that a node consumes, without control dependencies."""
    return [split(name) for name in node.input if not name.startswith("^")]


def split(tensor: str) -> NodeOutput:
    """Return the node and the number of the output that a tensor's name consists of."""
    name, _, output = tensor.partition(":")
    return name, int(output or 0)


def called_functions(node: Any, functions: Container[str]) -> Iterator[str]:
    """Yield the functions of a library that a node may call.

    A node names them by its operation or in its attributes.
    """
    if node.op in functions:
        yield node.op
    for attribute in node.attr.values():
        if attribute.func.name in functions:
            yield attribute.func.name
        yield from (f.name for f in attribute.list.func if f.name in functions)


def scalars(array: Any) -> frozenset[Scalar]:
    """Return the elements of an array, text where they are UTF-8."""
    values = np.asarray(array).reshape(-1).tolist()
    return frozenset(_text(v) if isinstance(v, bytes) else v for v in values)


def _text(value: bytes) -> Scalar:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value
