"""Validation of one output in an answer from a shared tier, which others write to.

The answer is parsed JSON. An output must be a leaf of its dtype where a row has one
element, else nested lists of the output's shape, in which all lists of one depth have
one length. Clients read a valid answer without further checks.

Hosts that are not gomlx's write a float that is whole without a point, and base64 with
other bits of padding: `validator` admits them, `strict_validator` only what
`contract/answer.py` writes.
"""

import base64
import math
from collections.abc import Callable, Iterable
from itertools import chain, repeat
from typing import Any

from gomlx.contract.tensor import Tensor
from gomlx.contract.values.binary import to_base64
from gomlx.contract.values.composite import Misfit, flatten_ragged, flatten_sparse

ValueCheck = Callable[[Any], bool]

_WORDS = ("NaN", "Infinity", "-Infinity")
# Floats from these on round to infinity. The shortest digits of the greatest float may
# be a little more than it, so the bound is not the greatest float itself.
_INFINITE = {
    "float16": 65520.0,
    "bfloat16": 2.0**128 - 2.0**119,
    "float32": 2.0**128 - 2.0**103,
    "float64": math.inf,
}


def validator(tensor: Tensor) -> ValueCheck:
    """Return the function that tells whether parsed JSON may be an output's value."""
    is_leaf = _leaf_validator(tensor)
    # The column's test is several times as fast, but knows no "NaN".
    return _value_validator(
        tensor, is_leaf, lambda x: tensor.is_plain(x) or all(map(is_leaf, x))
    )


def strict_validator(tensor: Tensor) -> ValueCheck:
    """Return the same for what gomlx itself has written, but for digits and spaces."""
    is_admitted = _leaf_validator(tensor)
    if tensor.dtype in _INFINITE:
        return _value_validator(
            tensor,
            lambda value: type(value) is not int and is_admitted(value),
            lambda leaves: (
                int not in set(map(type, leaves))
                and (tensor.is_plain(leaves) or all(map(is_admitted, leaves)))
            ),
        )
    if tensor.bounds or tensor.dtype == "bool":
        return validator(tensor)
    return _value_validator(
        tensor, _is_written_text, lambda leaves: all(map(_is_written_text, leaves))
    )


def _value_validator(
    tensor: Tensor, is_leaf: ValueCheck, are_leaves: Callable[[list[Any]], bool]
) -> ValueCheck:
    """Return the test of a value, from those of an element and of several."""
    if tensor.is_scalar:
        return is_leaf

    def is_block(value: Any) -> bool:
        leaves = _elements(value, tensor)
        return leaves is not None and are_leaves(leaves)

    return is_block


def _elements(value: Any, tensor: Tensor) -> list[Any] | None:
    """Return the elements of a value; None if it does not have the form."""
    try:
        if tensor.ragged:
            return flatten_ragged(value, tensor.ragged, tensor.shape or ())[1]
        if tensor.is_sparse:
            return flatten_sparse(value, tensor.shape or ())[1]
    except Misfit:
        return None
    return _leaves(value, tensor.shape)


def _leaf_validator(tensor: Tensor) -> ValueCheck:
    """Return the test of one element: its type, and its range."""
    if tensor.dtype in _INFINITE:
        return _float_validator(_INFINITE[tensor.dtype])
    if tensor.bounds:
        low, high = tensor.bounds
        return lambda value: type(value) is int and low <= value <= high
    if tensor.dtype == "bool":
        return lambda value: type(value) is bool
    return lambda value: type(value) is str or _is_base64(value)


def _float_validator(limit: float) -> ValueCheck:
    # First what most models answer: a float.
    return lambda value: (
        (type(value) is float and -limit < value < limit)
        or (type(value) is int and -limit < value < limit)
        or (type(value) is str and value in _WORDS)
    )


def _is_base64(value: Any) -> bool:
    """True for {"b64": …} with valid base64 and no other key."""
    if type(value) is not dict or list(value) != ["b64"]:
        return False
    text = value["b64"]
    try:
        return type(text) is str and base64.b64decode(text, validate=True) is not None
    except ValueError:
        return False


def _is_written_text(value: Any) -> bool:
    """True for text, and for bytes that are no text as gomlx writes them."""
    if type(value) is str:
        return True
    if not _is_base64(value):
        return False
    data = base64.b64decode(value["b64"])
    try:
        data.decode()
    except UnicodeDecodeError:
        return bool(to_base64(data) == value)
    return False


def _leaves(value: Any, shape: tuple[int | None, ...] | None) -> list[Any] | None:
    """Flatten nested lists, row-major; None if they do not have the shape."""
    leaves = [value]
    dims: Iterable[int | None] = repeat(None) if shape is None else shape
    for dim in dims:
        if not all(type(leaf) is list for leaf in leaves):
            return leaves if shape is None else None
        sizes = set(map(len, leaves))
        if len(sizes) > 1 or dim not in (None, *sizes):
            return None
        leaves = list(chain.from_iterable(leaves))
        if not leaves:  # an empty list hides the sizes of the dimensions below it
            break
    return leaves
