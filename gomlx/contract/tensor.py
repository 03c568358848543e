"""One input or output: what a row holds of it, and the check of values against it.

A value is a scalar (str, bytes, bool, int, float) where the model takes one number
or text a row, and a Block where it takes more.
"""

import base64
import binascii
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from gomlx.errors import InvalidInput, excerpt

Scalar = str | bytes | bool | int | float | None  # None: auxiliary inputs only


class Block(NamedTuple):
    """A value of more than one element: its shape and its elements, row-major."""

    shape: tuple[int, ...]
    leaves: tuple[Scalar, ...]


Value = Scalar | Block
Row = tuple[Value, ...]


_INTS = {
    f"{sign}int{bits}": (
        0 if sign else -(2 ** (bits - 1)),
        2 ** (bits if sign else bits - 1) - 1,
    )
    for sign in ("", "u")
    for bits in (8, 16, 32, 64)
}
_FLOATS = {
    "float16": 65504.0,
    "bfloat16": 3.3895313892515355e38,
    "float32": 3.4028234663852886e38,
    "float64": 1.7976931348623157e308,
}
DTYPES = frozenset({"string", "bool", *_INTS, *_FLOATS})
ANY = "any"  # the dtype of auxiliary inputs: any JSON scalar
_WORDS = {
    "bool": "true or false",
    "string": "a string",
    ANY: "a string, a finite number of 64 bits, true, false or null",
}


@dataclass(frozen=True)
class Tensor:
    """One input or output.

    dtype is TensorFlow's name for it; shape is that of one row, without the batch
    dimension, None standing for any size, and None as a whole for any rank.
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None

    @property
    def is_scalar(self) -> bool:
        """True when a row holds one element: a shape of [n] or [n, 1]."""
        return self.shape in ((), (1,))

    @property
    def expected(self) -> str:
        """What a row's value must be, in words."""
        if self.dtype in _INTS:
            low, high = _INTS[self.dtype]
            what = f"{self.dtype} (an integer from {low} to {high})"
        elif self.dtype in _FLOATS:
            what = f"{self.dtype} (a finite number)"
        else:
            what = _WORDS[self.dtype]
        if self.is_scalar:
            return what
        if self.shape is None:
            return f"{what}, in nested lists of equal length"
        dims = ", ".join("any" if d is None else str(d) for d in self.shape)
        return f"{what}, in nested lists of shape [{dims}]"

    @property
    def plain_types(self) -> tuple[type, ...]:
        """The types of a row's value that can be used as it is, within `bounds`."""
        if not self.is_scalar or self.dtype == ANY:
            return ()
        if self.dtype in _FLOATS:
            return float, int
        if self.dtype in _INTS:
            return (int,)
        return (str,) if self.dtype == "string" else (bool,)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest number, where a value is one; not NaN either."""
        if self.dtype in _FLOATS:
            return -_FLOATS[self.dtype], _FLOATS[self.dtype]
        return _INTS.get(self.dtype)

    @cached_property
    def is_plain(self) -> Callable[[Sequence[Any]], bool]:
        """A fast test that every element of a column can be used as it is."""
        return _plain_test(self.dtype)

    def column(self, values: Sequence[Any], row: int | None = 0) -> Sequence[Value]:
        """Return the values of some rows, checked; row numbers the first of them.

        Raises InvalidInput, which names the input, the row and what was expected.
        """
        if self.is_scalar and self.is_plain(values):
            return values
        return [
            self._value(value, None if row is None else row + i)
            for i, value in enumerate(values)
        ]

    def _value(self, value: Any, row: int | None) -> Value:
        if self.is_scalar:
            if isinstance(value, list) and len(value) == 1 and self.shape == (1,):
                value = value[0]
            return self._element(value, row)
        shape, leaves = self._nested(value, row)
        if not self.is_plain(leaves):
            leaves = [self._element(leaf, row) for leaf in leaves]
        return Block(shape, tuple(leaves))

    def _nested(self, value: Any, row: int | None) -> tuple[tuple[int, ...], list[Any]]:
        """Flatten nested lists; every list of one depth must have one length."""
        shape: list[int] = []
        leaves = [value]
        while leaves and all(type(leaf) is list for leaf in leaves):
            sizes = {len(leaf) for leaf in leaves}
            if len(sizes) > 1:
                raise self._wrong("nested lists of unequal length", row)
            shape.append(sizes.pop())
            leaves = [element for leaf in leaves for element in leaf]
            if len(shape) > 32:
                raise self._wrong("lists nested deeper than 32", row)
        if self.shape is None:
            return tuple(shape), leaves
        full = shape
        if 0 in shape:  # nothing below an empty list tells the sizes there
            full = shape + [d or 0 for d in self.shape[len(shape) :]]
        if not self._admits(full):
            raise self._wrong(f"a value of shape {shape}", row)
        return tuple(full), leaves

    def _admits(self, shape: Sequence[int]) -> bool:
        dims = self.shape or ()
        return len(dims) == len(shape) and all(
            dim in (None, size) for dim, size in zip(dims, shape, strict=True)
        )

    def _element(self, value: Any, row: int | None) -> Scalar:
        if self.dtype == "string" and isinstance(value, dict):
            return self._base64(value, row)
        if not self.is_plain((value,)):
            raise self._wrong(shown(value), row)
        return value  # type: ignore[no-any-return]  # is_plain has looked at it

    def _base64(self, value: dict[str, Any], row: int | None) -> Scalar:
        """Decode {"b64": …}; text that is UTF-8 has one form however it was sent."""
        try:
            if value.keys() != {"b64"}:
                raise ValueError
            data = base64.b64decode(value["b64"], validate=True)
        except (ValueError, TypeError, binascii.Error):
            raise self._wrong(f'{shown(value)}, not {{"b64": "…"}}', row) from None
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def _wrong(self, got: str, row: int | None) -> InvalidInput:
        return InvalidInput(f"expected {self.expected}, got {got}", self.name, row)


def shown(value: Any) -> str:
    """A value as the asker wrote it, cut short: error text must not echo bodies."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Infinity")
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # what JSON cannot hold: too deep, beyond 64 bits, an object
        text = f"a value of type {type(value).__name__}"
    return excerpt(text)


def _plain_test(dtype: str) -> Callable[[Sequence[Any]], bool]:
    if dtype in _INTS:
        low, high = _INTS[dtype]
        only_ints = frozenset({int}).issuperset
        return lambda values: (
            only_ints(map(type, values))
            and (not values or (low <= min(values) and max(values) <= high))
        )
    if dtype in _FLOATS:
        limit = _FLOATS[dtype]
        only_numbers = frozenset({float, int}).issuperset
        return lambda values: (
            only_numbers(map(type, values))
            and (not values or (-limit <= min(values) and max(values) <= limit))
            and all(map(math.isfinite, values))  # NaN compares as it likes
        )
    if dtype == ANY:
        return lambda values: all(map(_is_scalar, values))
    only_these = frozenset({str if dtype == "string" else bool}).issuperset
    return lambda values: only_these(map(type, values))


def _is_scalar(value: Any) -> bool:
    if type(value) is int:
        return -(2**63) <= value < 2**64
    if type(value) is float:
        return math.isfinite(value)
    return value is None or type(value) in (str, bool)
