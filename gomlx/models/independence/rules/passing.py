"""Operations that hand on what they take, and constants."""

from typing import Any

import numpy as np
from tensorflow.python.framework import dtypes, tensor_util

from gomlx.models.independence.operation import GraphOperation, Outcome, Rule
from gomlx.models.independence.sizes import Size
from gomlx.models.independence.state import SAME, State, StateKind, all_joined, same

# Operations that hand on what they take, one output an input.
_PASSING = """
DebugIdentity Enter EnsureShape Exit Identity IdentityN LoopCond NextIteration
OptimizationBarrier PlaceholderWithDefault PreventGradient ReadVariableOp RefEnter
RefExit RefIdentity RefNextIteration Snapshot StopGradient
""".split()
_LONGEST_CONTENT = 64


def _switch(operation: GraphOperation) -> Outcome:
    data, choice = operation.inputs
    if choice.kind is not StateKind.SAME:
        return [operation.mixed("the values of a row choose")] * 2
    return [data, data]


def _merge(operation: GraphOperation) -> Outcome:
    return [all_joined(operation.inputs), SAME]


def _pass(operation: GraphOperation) -> Outcome:
    return operation.inputs


def _constant(operation: GraphOperation) -> Outcome:
    proto = operation.node.attr["value"].tensor
    sizes = [int(dim.size) for dim in proto.tensor_shape.dim]
    shape = tuple(map(Size, sizes))
    dtype = dtypes.as_dtype(proto.dtype)
    count = int(np.prod(sizes)) if sizes else 1
    if not dtype.is_integer or count > _LONGEST_CONTENT or len(sizes) > 2:
        return same(shape)
    values = tensor_util.MakeNdarray(proto).reshape(-1)
    return same(shape, tuple(Size(int(value)) for value in values))


def declared(node: Any) -> State:
    """Return SAME with the shape that a variable or what is read of it declares.

    That of several outputs is the first one's.
    """
    for name in ("shape", "_output_shapes"):
        if name in node.attr:
            proto = node.attr[name].shape
            if name == "_output_shapes":
                (proto, *_) = [*node.attr[name].list.shape] or [proto]
            if not proto.unknown_rank:
                dims = [int(dim.size) for dim in proto.dim]
                return same(tuple(None if d < 0 else Size(d) for d in dims))
    return SAME


RULES: dict[str, Rule] = {
    **dict.fromkeys(_PASSING, _pass),
    **dict.fromkeys(("Merge", "RefMerge"), _merge),
    **dict.fromkeys(("Switch", "RefSwitch"), _switch),
    "Const": _constant,
}
