"""What one output may be in an answer that somebody else may have written.

Of an answer in JSON, once parsed: a leaf of the output's dtype where a row has one
element, else nested lists of the output's shape, all lists of one depth of one length.
Clients read whatever passes without looking again.
"""

import base64
import math
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from typing import Any

from gomlx.contract.tensor import Tensor

Check = Callable[[Any], bool]

_WORDS = ("NaN", "Infinity", "-Infinity")
# What is as large rounds to infinity. The greatest float's shortest digits may be a
# little more than it is, so the bound is not the greatest float itself.
_INFINITE = {
    "float16": 65520.0,
    "bfloat16": 2.0**128 - 2.0**119,
    "float32": 2.0**128 - 2.0**103,
    "float64": math.inf,
}


def check(tensor: Tensor) -> Check:
    """Return the test of an output's value."""
    is_leaf = _leaf(tensor)
    if tensor.is_scalar:
        return is_leaf

    def is_block(value: Any) -> bool:
        leaves = _leaves(value, tensor.shape)
        if leaves is None:
            return False
        # PERF: the column's test is several times as fast, but knows no words.
        return tensor.is_plain(leaves) or all(map(is_leaf, leaves))

    return is_block


def _leaf(tensor: Tensor) -> Check:
    """Return the test of one element: of a dtype, and in its range."""
    if tensor.dtype in _INFINITE:
        limit = _INFINITE[tensor.dtype]
        # PERF: this is the answer of most models.
        return lambda value: (
            (type(value) is float and -limit < value < limit)
            or (type(value) is int and -limit < value < limit)
            or (type(value) is str and value in _WORDS)
        )
    if tensor.bounds:
        low, high = tensor.bounds
        return lambda value: type(value) is int and low <= value <= high
    if tensor.dtype == "bool":
        return lambda value: type(value) is bool
    return lambda value: type(value) is str or _is_base64(value)


def _is_base64(value: Any) -> bool:
    """True for {"b64": …}, and nothing beside."""
    if type(value) is not dict or list(value) != ["b64"]:
        return False
    text = value["b64"]
    try:
        return type(text) is str and base64.b64decode(text, validate=True) is not None
    except ValueError:
        return False


def _leaves(value: Any, shape: tuple[int | None, ...] | None) -> list[Any] | None:
    """Flatten nested lists of a shape; None for what has another one, or none."""
    leaves = [value]
    dims: Iterable[int | None] = repeat(None) if shape is None else shape
    for dim in dims:
        if not all(type(leaf) is list for leaf in leaves):
            return leaves if shape is None else None
        sizes = set(map(len, leaves))
        if len(sizes) > 1 or dim not in (None, *sizes):
            return None
        leaves = list(chain.from_iterable(leaves))
        if not leaves:  # nothing below tells the sizes there
            break
    return leaves
