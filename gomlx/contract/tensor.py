"""One input or output: what a row holds of it, and the check of values against it.

A row holds a scalar (str, bytes, bool, int, float) where the shape of a row has one
element, and a Block where it may have more. Values come as JSON: numbers, strings,
true and false, nested lists of them, and {"b64": "…"} for bytes (as in TensorFlow
Serving's REST API).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from typing import Any, NamedTuple

import orjson

from gomlx.contract import dtypes
from gomlx.contract.dtypes import PlainTest
from gomlx.contract.values.arrays import MAX_DEPTH, Array
from gomlx.contract.values.binary import from_base64
from gomlx.contract.values.composite import (
    Misfit,
    flatten_ragged,
    flatten_sparse,
    nest_ragged,
    nest_sparse,
)
from gomlx.contract.values.packing import (
    Elements,
    flatten,
    nest,
    pack,
    pack_plain,
    unpack,
)
from gomlx.errors import InvalidInput, excerpt

Scalar = str | bytes | bool | int | float | None  # None: auxiliary inputs only


class Block(NamedTuple):
    """A value of any number of elements: its shape and its elements, row-major.

    Numbers and booleans are packed (packing.py), texts a tuple.
    """

    shape: tuple[int, ...]
    elements: Elements


Value = Scalar | Block
Row = tuple[Value, ...]


@dataclass(frozen=True)
class Tensor:
    """One input or output.

    dtype is one of DTYPES, or ANY for an auxiliary input. shape is that of one row,
    without the batch dimension; a None in it stands for any size, and None as a whole
    for any rank. missing is "nan" if elements may be missing, which is NaN in a row.
    is_shared: rows run together only if they have equal values, so that a batch may
    hold one value for all its rows; an output is equal for all rows. default: the JSON
    value of a row without this input; None if every row must have it. ragged: how many
    of the dimensions have lists of any lengths; is_sparse: a row holds a sparse tensor
    (composite.py).
    """

    name: str
    dtype: str
    shape: tuple[int | None, ...] | None
    missing: str = ""
    is_shared: bool = False
    default: Any = field(default=None, hash=False)
    ragged: int = 0
    is_sparse: bool = False

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Tensor":
        """Read what `to_json` returned. Raises KeyError, TypeError."""
        shape = document["shape"]
        return cls(
            document["name"],
            document["dtype"],
            None if shape is None else tuple(shape),
            document.get("missing", ""),
            bool(document.get("is_shared", False)),
            document.get("default"),
            int(document.get("ragged", 0)),
            bool(document.get("is_sparse", False)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return {"name", "dtype", "shape"}, and what differs from its default."""
        return {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if one.default is MISSING or getattr(self, one.name) != one.default
        }

    @property
    def is_scalar(self) -> bool:
        """True when a row holds one element: a shape of [n] or [n, 1]."""
        return self.shape in ((), (1,)) and not (self.ragged or self.is_sparse)

    @property
    def expected(self) -> str:
        """What a row's value must be, for error messages."""
        element = dtypes.expected(self.dtype, self.missing)
        if self.is_scalar:
            return element
        if self.shape is None:
            return f"{element}, in nested lists of equal length"
        if self.ragged:
            return f"{element}, in lists of any length, nested {len(self.shape)} deep"
        if self.is_sparse:
            parts = '{"indices": [[…], …], "values": […], "shape": […]}'
            return f"{parts} with values of {element}"
        dims = ", ".join("any" if d is None else str(d) for d in self.shape)
        return f"{element}, in nested lists of shape [{dims}]"

    @property
    def plain_types(self) -> tuple[type, ...]:
        """The types of a plain value, within `bounds`; none for blocks."""
        return dtypes.plain_types(self.dtype) if self.is_scalar else ()

    @property
    def bounds(self) -> tuple[float, float] | None:
        """The least and the greatest number; None where an element is not a number."""
        return dtypes.bounds(self.dtype)

    @cached_property
    def is_plain(self) -> PlainTest:
        """A fast test that every element of a column can be used as it is."""
        return dtypes.plain_test(self.dtype)

    def is_value(self, value: Any) -> bool:
        """True if a JSON value has the rank of one row's value, not of a column."""
        rank = len(self.shape or ())
        depth = 0
        while isinstance(value, list):
            depth += 1
            if not value:  # nothing tells how deep it would be
                return depth <= rank
            value = value[0]
        return depth == rank

    def check_column(
        self, values: Sequence[Any], first_row: int | None = 0
    ) -> Sequence[Value]:
        """Check the JSON values of consecutive rows; return what the rows hold.

        first_row is the number of the first row in errors, None for a request of one
        row. Raises InvalidInput, which names the input, the row and what was expected.
        """
        if self.is_scalar:
            if self.is_plain(values):
                return values
            found = dtypes.converted(values, self.dtype, self.missing)
            if found is not None:
                return found
        return [
            self._value(value, None if first_row is None else first_row + i)
            for i, value in enumerate(values)
        ]

    def block(self, shape: tuple[int, ...], elements: Sequence[Any]) -> Block:
        """Return the block of a shape with these elements, which must be checked."""
        return Block(shape, pack(elements, self.dtype))

    def elements(self, value: Value) -> tuple[Any, ...]:
        """Return the elements of a value, row-major, as the dtype holds them."""
        if isinstance(value, Block):
            return unpack(value.elements, self.dtype)
        return (value,)

    def nested(self, value: Value) -> Any:
        """Return a value as a request holds it: a block as nested lists."""
        if not isinstance(value, Block):
            return value
        elements = self.elements(value)
        if self.ragged:
            return nest_ragged(value.shape, self.ragged, elements)
        if self.is_sparse:
            return nest_sparse(value.shape, len(self.shape or ()), elements)
        return nest(value.shape, elements)

    def leaves(self, value: Any) -> list[Any]:
        """Return the elements of a valid JSON value of a block, as they are given."""
        return self._parts(value, None)[1]

    def _value(self, value: Any, row: int | None) -> Value:
        if self.is_scalar:
            if isinstance(value, list) and len(value) == 1 and self.shape == (1,):
                value = value[0]
            return self._element(value, row)
        shape, leaves = self._parts(value, row)
        elements = pack_plain(leaves, self.dtype)
        if elements is not None:
            return Block(shape, elements)
        found = dtypes.converted(leaves, self.dtype, self.missing)
        if found is None:
            found = [self._element(leaf, row) for leaf in leaves]
        return self.block(shape, found)

    def _parts(self, value: Any, row: int | None) -> tuple[tuple[int, ...], list[Any]]:
        """Return the shape of a value's block and its elements."""
        try:
            if self.ragged:
                return flatten_ragged(value, self.ragged, self.shape or ())
            if self.is_sparse:
                return flatten_sparse(value, self.shape or ())
        except Misfit as got:
            raise self._error(str(got), row) from None
        return self._flatten(value, row)

    def _flatten(
        self, value: Any, row: int | None
    ) -> tuple[tuple[int, ...], list[Any]]:
        """Flatten nested lists; every list of one depth must have one length."""
        if type(value) is Array:
            return self._full_shape(list(value.shape), row), value.values
        shape: list[int] = []
        leaves = [value]
        while leaves and set(map(type, leaves)) == {list}:
            sizes = set(map(len, leaves))
            if len(sizes) > 1:
                raise self._error("nested lists of unequal length", row)
            shape.append(sizes.pop())
            leaves = flatten(leaves)
            if len(shape) > MAX_DEPTH:
                raise self._error(f"lists nested deeper than {MAX_DEPTH}", row)
        return self._full_shape(shape, row), leaves

    def _full_shape(self, found: list[int], row: int | None) -> tuple[int, ...]:
        """Return a value's shape if it is an instance of the tensor's."""
        if self.shape is None:
            return tuple(found)
        full = found
        if 0 in found:  # an empty list hides the sizes of the dimensions below it
            full = found + [d or 0 for d in self.shape[len(found) :]]
        if len(self.shape) != len(full) or not all(
            dim in (None, size) for dim, size in zip(self.shape, full, strict=True)
        ):
            raise self._error(f"a value of shape {found}", row)
        return tuple(full)

    def _element(self, value: Any, row: int | None) -> Scalar:
        if self.dtype == "string" and isinstance(value, dict):
            return self._from_base64(value, row)
        if self.is_plain((value,)):
            return value  # type: ignore[no-any-return]  # is_plain has checked it
        found = dtypes.converted((value,), self.dtype, self.missing)
        if found is None:
            got = json_excerpt(value) + dtypes.advice(value, self.dtype)
            raise self._error(got, row)
        return found[0]  # type: ignore[no-any-return]  # a number

    def _from_base64(self, value: dict[str, Any], row: int | None) -> Scalar:
        """Decode {"b64": …}: to str if it is UTF-8, so that a text has one form."""
        try:
            data = from_base64(value)
        except ValueError as error:
            got = f'{json_excerpt(value)}, not {{"b64": "…"}}: {error}'
            raise self._error(got, row) from None
        try:
            return data.decode()
        except UnicodeDecodeError:
            return data

    def _error(self, got: str, row: int | None) -> InvalidInput:
        return InvalidInput(f"expected {self.expected}, got {got}", self.name, row)


def json_excerpt(value: Any) -> str:
    """Return a value's JSON, cut to 60 characters: errors must not echo bodies."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else f"{value:+}".replace("inf", "Infinity")
    try:
        text = orjson.dumps(value).decode()
    except TypeError:  # JSON cannot hold it: too deep, beyond 64 bits, another type
        text = f"a value of type {type(value).__name__}"
    return excerpt(text)
