"""What is known of a tensor's values before a run, and how operations pass it on.

Bounds say something of every element of a tensor, whatever its shape: dropout's mask is
`random >= 0.0`, of the shape of a batch, and always true. They hold for the numbers
that TensorFlow computes, rounded and in whatever order its optimizer puts sums:
arithmetic is done with small whole numbers only, on which floating point is exact.
"""

import math
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from tensorflow.python.framework import dtypes, tensor_util

_MOST_ELEMENTS = 64  # of a constant that is looked at
_MOST_WHOLE = 64  # the greatest number that is calculated with
_EXACT = 2.0**53  # from here on a Python float skips whole numbers
# They hold every small whole number.
_SIGNED = frozenset(
    ("bfloat16", "float16", "float32", "float64", "int16", "int32", "int64", "int8")
)
_UNSIGNED = frozenset(("bool", "uint16", "uint32", "uint64", "uint8"))
# The greatest number that RandomUniform draws: it fills the mantissa of a number in
# [1, 2) with random bits, and subtracts 1.
_RANDOM = {
    "bfloat16": 1 - 2.0**-7,
    "float16": 1 - 2.0**-10,
    "float32": 1 - 2.0**-23,
    "float64": 1 - 2.0**-52,
}


class Bounds(NamedTuple):
    """All elements lie in [low, high]. is_scalar: the tensor is known to have no axis.

    Truth values are 0.0 and 1.0.
    """

    low: float
    high: float
    is_scalar: bool = False

    @property
    def is_one_value(self) -> bool:
        """True if all elements are the same, and which is known."""
        return self.low == self.high


class Mark(Enum):
    """What else may be known of a tensor.

    DEAD: it lies behind a branch that is never taken. ASSET: it is the path of a file
    that is a part of the version.
    """

    DEAD = "dead"
    ASSET = "asset"


Fact = Bounds | Mark | None  # None: nothing is known
_Rule = Callable[[Any, Sequence[Fact]], Fact]
_Compare = Callable[[Bounds, Bounds], bool]


def outcome(node: Any, values: Sequence[Fact]) -> Fact:
    """Return what is known of the only output of a node, from what is of its inputs."""
    rule = _RULES.get(node.op)
    return rule(node, values) if rule else None


def computes_with(op: str, slot: int) -> bool:
    """True if an operation makes its outcome of an input's elements, one by one.

    Then the shape of its only output does not depend on these elements.
    """
    return op in _RULES and slot in _SLOTS.get(op, (0, 1, 2))


def _constant(node: Any, _: Sequence[Fact]) -> Fact:
    proto = node.attr["value"].tensor
    dtype = dtypes.as_dtype(proto.dtype)
    sizes = [axis.size for axis in proto.tensor_shape.dim]
    if not 1 <= math.prod(sizes) <= _MOST_ELEMENTS:
        return None
    if dtype.name not in _SIGNED | _UNSIGNED:
        return None
    array = tensor_util.MakeNdarray(proto).astype(np.float64)
    # Nearer to zero, a processor may take a number for zero.
    least = np.finfo(np.float64 if dtype.size == 8 else np.float32).tiny
    is_plain = np.isfinite(array) & (np.abs(array) < _EXACT)
    is_plain &= (array == 0) | (np.abs(array) >= least)
    if not is_plain.all():
        return None
    return Bounds(float(array.min()), float(array.max()), not sizes)


def _random(node: Any, _: Sequence[Fact]) -> Fact:
    greatest = _RANDOM.get(dtypes.as_dtype(node.attr["dtype"].type).name)
    return None if greatest is None else Bounds(0.0, greatest)


def _same(_: Any, values: Sequence[Fact]) -> Fact:
    return values[0]


def _same_elements(_: Any, values: Sequence[Fact]) -> Fact:
    first = values[0]
    return first._replace(is_scalar=False) if isinstance(first, Bounds) else None


def _filled(_: Any, values: Sequence[Fact]) -> Fact:
    return _same_elements(_, values[1:])


def _cast(node: Any, values: Sequence[Fact]) -> Fact:
    """Small whole numbers and truth values are the same in every dtype of numbers."""
    (value,) = values
    if not isinstance(value, Bounds) or not _is_whole(value):
        return None
    target = dtypes.as_dtype(node.attr["DstT"].type).name
    number = float(value.low != 0) if target == "bool" else value.low
    return _whole(target, number, value, value)


def _floor(_: Any, values: Sequence[Fact]) -> Fact:
    (value,) = values
    if not isinstance(value, Bounds):
        return None
    return value._replace(
        low=float(math.floor(value.low)), high=float(math.floor(value.high))
    )


def _add(node: Any, values: Sequence[Fact]) -> Fact:
    a, b = values
    if not (isinstance(a, Bounds) and isinstance(b, Bounds)):
        return None
    if _is_whole(a) and _is_whole(b):
        return _whole(_dtype(node), a.low + b.low, a, b)
    for number, other in ((a, b), (b, a)):
        # 0 ≤ other < 1: so is the sum with 0 exact, and with 1 too for what is drawn.
        if number.is_one_value and number.low in (0.0, 1.0) and _is_drawn(other):
            return Bounds(other.low + number.low, other.high + number.low)
    return None


def _subtract(node: Any, values: Sequence[Fact]) -> Fact:
    a, b = values
    if not (isinstance(a, Bounds) and isinstance(b, Bounds)):
        return None
    if _is_whole(a) and _is_whole(b):
        return _whole(_dtype(node), a.low - b.low, a, b)
    return None


def _multiply(node: Any, values: Sequence[Fact]) -> Fact:
    a, b = values
    if not (isinstance(a, Bounds) and isinstance(b, Bounds)):
        return None
    if _is_whole(a) and _is_whole(b):
        return _whole(_dtype(node), a.low * b.low, a, b)
    for number, other in ((a, b), (b, a)):
        if number.is_one_value and number.low == 1.0 and _is_drawn(other):
            return other._replace(is_scalar=False)
    return None


def _compared(is_true: _Compare, is_false: _Compare) -> _Rule:
    def rule(_: Any, values: Sequence[Fact]) -> Fact:
        a, b = values
        if not (isinstance(a, Bounds) and isinstance(b, Bounds)):
            return None
        both = a.is_scalar and b.is_scalar
        if is_true(a, b):
            return Bounds(1.0, 1.0, both)
        return Bounds(0.0, 0.0, both) if is_false(a, b) else None

    return rule


def _logical(decisive: float) -> _Rule:
    """Return the rule of an operation that one of its inputs may decide alone."""

    def rule(_: Any, values: Sequence[Fact]) -> Fact:
        found = [v for v in values if isinstance(v, Bounds) and v.is_one_value]
        scalar = len(found) == 2 and all(v.is_scalar for v in found)
        if any(v.low == decisive for v in found):
            return Bounds(decisive, decisive, scalar)
        other = 1.0 - decisive
        return Bounds(other, other, scalar) if len(found) == 2 else None

    return rule


def _not(_: Any, values: Sequence[Fact]) -> Fact:
    (value,) = values
    if not isinstance(value, Bounds):
        return None
    return value._replace(low=1.0 - value.high, high=1.0 - value.low)


def _selected(_: Any, values: Sequence[Fact]) -> Fact:
    condition, *cases = values
    if not isinstance(condition, Bounds) or not condition.is_one_value:
        return None
    return _same_elements(_, [cases[0] if condition.low else cases[1]])


def _is_whole(value: Bounds) -> bool:
    """True for one small whole number."""
    number = value.low
    return value.is_one_value and number.is_integer() and abs(number) <= _MOST_WHOLE


def _is_drawn(value: Bounds) -> bool:
    """True for what RandomUniform draws, as it is."""
    return value.low == 0.0 and value.high in _RANDOM.values()


def _whole(dtype: str, number: float, a: Bounds, b: Bounds) -> Fact:
    """Return a result, if it is a small whole number that the dtype holds."""
    held = _SIGNED if number < 0 else _SIGNED | _UNSIGNED
    if dtype not in held or abs(number) > _MOST_WHOLE:
        return None
    return Bounds(number, number, a.is_scalar and b.is_scalar)


def _dtype(node: Any) -> str:
    return str(dtypes.as_dtype(node.attr["T"].type).name)


def _are_equal(a: Bounds, b: Bounds) -> bool:
    return a.low == a.high == b.low == b.high


def _are_apart(a: Bounds, b: Bounds) -> bool:
    return a.high < b.low or b.high < a.low


_RULES: dict[str, _Rule] = {
    "Add": _add,
    "AddV2": _add,
    "BroadcastTo": _same_elements,
    "Cast": _cast,
    "Const": _constant,
    "EnsureShape": _same,
    "Enter": _same,
    "Equal": _compared(_are_equal, _are_apart),
    "ExpandDims": _same_elements,
    "Fill": _filled,
    "Floor": _floor,
    "Greater": _compared(lambda a, b: a.low > b.high, lambda a, b: a.high <= b.low),
    "GreaterEqual": _compared(
        lambda a, b: a.low >= b.high, lambda a, b: a.high < b.low
    ),
    "Identity": _same,
    "Less": _compared(lambda a, b: a.high < b.low, lambda a, b: a.low >= b.high),
    "LessEqual": _compared(lambda a, b: a.high <= b.low, lambda a, b: a.low > b.high),
    "LogicalAnd": _logical(0.0),
    "LogicalNot": _not,
    "LogicalOr": _logical(1.0),
    "LoopCond": _same,
    "Mul": _multiply,
    "NotEqual": _compared(_are_apart, _are_equal),
    "PlaceholderWithDefault": _same,
    "PreventGradient": _same,
    "RandomUniform": _random,
    "Reshape": _same_elements,
    "Select": _selected,
    "SelectV2": _selected,
    "Snapshot": _same,
    "Squeeze": _same_elements,
    "StopGradient": _same,
    "Sub": _subtract,
    "Tile": _same_elements,
    "Transpose": _same_elements,
}
# The inputs that hold elements; all others say something of the shape.
_SLOTS = {
    **dict.fromkeys(("BroadcastTo", "ExpandDims", "Reshape", "Squeeze"), (0,)),
    **dict.fromkeys(("Tile", "Transpose"), (0,)),
    "Fill": (1,),
    "RandomUniform": (),
}
