"""What a model takes and gives, and the check of a question against it.

A question is a JSON object: an input's name → its value, or with `batch_size` its
column. It becomes rows: tuples with one value per input, in the signature's order.
A value is a scalar (str, bytes, bool, int, float) where the model takes one number
or text a row, and a Block where it takes more.
"""

import base64
import binascii
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from gomlx.errors import InvalidInput, TooLarge

Scalar = str | bytes | bool | int | float | None  # None: auxiliary inputs only
# A column of length 1 stands for every row of its batch; a key is made of each.
_MAX_BROADCAST = 16 << 20
RESERVED = frozenset({"batch_size", "cache_key"})


class Block(NamedTuple):
    """A value of more than one element: its shape and its elements, row-major."""

    shape: tuple[int, ...]
    leaves: tuple[Scalar, ...]


Value = Scalar | Block
Row = tuple[Value, ...]


class Question(NamedTuple):
    """The rows of one request; a single row unless it came with `batch_size`."""

    rows: list[Row]
    is_batch: bool


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
            raise self._wrong(_shown(value), row)
        return value  # type: ignore[no-any-return]  # is_plain has looked at it

    def _base64(self, value: dict[str, Any], row: int | None) -> Scalar:
        """Decode {"b64": …}; text that is UTF-8 has one form however it was sent."""
        try:
            if value.keys() != {"b64"}:
                raise ValueError
            data = base64.b64decode(value["b64"], validate=True)
        except (ValueError, TypeError, binascii.Error):
            raise self._wrong(f'{_shown(value)}, not {{"b64": "…"}}', row) from None
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def _wrong(self, got: str, row: int | None) -> InvalidInput:
        return InvalidInput(f"expected {self.expected}, got {got}", self.name, row)


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one version, each in the order of their names.

    auxiliaries are inputs that are asked for but not fed to the model; in a row they
    come last.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    auxiliaries: tuple[Tensor, ...] = ()

    @cached_property
    def fields(self) -> tuple[Tensor, ...]:
        """All that a row holds, in its order."""
        return self.inputs + self.auxiliaries

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs and auxiliary inputs, in row order."""
        return tuple(tensor.name for tensor in self.fields)

    def question(self, asked: Any, max_rows: int = 2**31) -> Question:
        """Check a decoded JSON object and turn its columns into rows.

        Raises InvalidInput; TooLarge for more than max_rows rows.
        """
        if not isinstance(asked, dict):
            raise InvalidInput(f"expected a JSON object, got {_shown(asked)}")
        self._check_names(asked)
        size = asked.get("batch_size")
        if size is None:
            columns = [t.column((asked[t.name],), None) for t in self.fields]
            return Question(list(zip(*columns, strict=True)), False)
        if type(size) is not int or size < 1:
            raise InvalidInput(
                f"batch_size: expected an integer of 1 or more, got {_shown(size)}"
            )
        if size > max_rows:
            raise TooLarge(
                f"batch_size: at most {max_rows} rows in a request, got {_shown(size)}"
            )
        columns = [_batch_column(t, asked[t.name], size) for t in self.fields]
        return Question(list(zip(*columns, strict=True)), True)

    def parse(self, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Turn the text pairs of a query string into what a JSON body would hold."""
        tensors = {tensor.name: tensor for tensor in self.fields}
        asked: dict[str, Any] = {}
        for name, text in pairs:
            if name in RESERVED:
                continue
            if name in asked:
                raise InvalidInput("given more than once", name)
            tensor = tensors.get(name)
            asked[name] = _parsed(tensor, text) if tensor else text
        return asked

    def _check_names(self, asked: Mapping[str, Any]) -> None:
        if asked.keys() == self._nameset:
            return
        present = asked.keys() - RESERVED
        if present == self._nameset:
            return
        has = ", ".join(self.names)
        if unknown := sorted(present - self._nameset):
            raise InvalidInput(f"no such input; the model has: {has}", unknown[0])
        missing = ", ".join(sorted(self._nameset - present))
        raise InvalidInput(f"missing; the model takes: {has}", missing)

    @cached_property
    def _nameset(self) -> frozenset[str]:
        return frozenset(self.names)


def _batch_column(tensor: Tensor, values: Any, size: int) -> Sequence[Value]:
    if not isinstance(values, list) or len(values) not in (1, size):
        got = f"{len(values)} values" if isinstance(values, list) else _shown(values)
        raise InvalidInput(
            f"expected a list of {size} values (batch_size) or of 1, got {got}",
            tensor.name,
        )
    column = tensor.column(values)
    if len(column) == size:
        return column
    if _size(column[0]) * size > _MAX_BROADCAST:
        raise TooLarge(f"input {tensor.name!r}: too large to stand for {size} rows")
    return list(column) * size


def _size(value: Value) -> int:
    """About how many bytes a value takes."""
    if isinstance(value, Block):
        return sum(map(_size, value.leaves))
    return len(value) if isinstance(value, str | bytes) else 8


def _parsed(tensor: Tensor, text: str) -> Any:
    if tensor.is_scalar and tensor.dtype in ("string", ANY):
        return text
    if tensor.dtype == "bool" and text.lower() in ("1", "t", "0", "f"):
        return text.lower() in ("1", "t")
    try:
        return orjson.loads(text.lower() if tensor.dtype == "bool" else text)
    except orjson.JSONDecodeError:
        reason = f"expected {tensor.expected}, got {_shown(text)}"
        raise InvalidInput(reason, tensor.name) from None


def _shown(value: Any) -> str:
    """A value as the asker wrote it, cut short: error text must not echo bodies."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Infinity")
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # what JSON cannot hold: too deep, beyond 64 bits, an object
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


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
