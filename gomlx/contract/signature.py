"""What a model takes and returns, and the check of a request body against it.

A request body is a JSON object: the name of each input → its value, or, with
`batch_size`, → its column. It becomes rows: tuples with one value per input, in the
signature's order.
"""

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from gomlx.contract.dtypes import ANY, advice
from gomlx.contract.tensor import Block, Row, Tensor, Value, json_excerpt
from gomlx.contract.values.arrays import Array
from gomlx.errors import InvalidInput, TooLarge

RESERVED = frozenset({"batch_size", "cache_key"})  # in a body, but not inputs

# A column of length 1 stands for every row of its batch; this bounds what the keys of
# all rows of a request encode of such columns, in bytes.
_MAX_BROADCAST = 16 << 20
# A number may be an int or a float, so the rows of a model with many floats have many
# combinations of plain types; past this limit, every row gets the slow check.
_MAX_TYPE_COMBINATIONS = 1 << 10
_PARTS = ("inputs", "outputs", "auxiliaries")


class CheckedRows(NamedTuple):
    """The rows of one request; is_batch: it came with `batch_size`, else it has one."""

    rows: list[Row]
    is_batch: bool


@dataclass(frozen=True)
class Echo:
    """An output that repeats an input: the input of this name."""

    output: Tensor
    input: str


@dataclass(frozen=True)
class Signature:
    """The inputs and outputs of one version, each in the order of their names.

    auxiliaries are inputs that a request has but the model is not fed; in a row they
    come last. echoes are outputs that the graph is not run for (echoes.py).
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    auxiliaries: tuple[Tensor, ...] = ()
    echoes: tuple[Echo, ...] = ()

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Signature":
        """Read what `to_json` returned. Raises KeyError, TypeError."""
        inputs, outputs, auxiliaries = [
            tuple(map(Tensor.from_json, document[part])) for part in _PARTS
        ]
        echoes = [
            Echo(Tensor.from_json(echo["output"]), str(echo["input"]))
            for echo in document.get("echoes", ())
        ]
        return cls(inputs, outputs, auxiliaries, tuple(echoes))

    def to_json(self) -> dict[str, list[dict[str, Any]]]:
        """Return {"inputs": [{"name", "dtype", "shape"}, …], "outputs", …}."""
        parts = {part: [t.to_json() for t in getattr(self, part)] for part in _PARTS}
        if self.echoes:
            parts["echoes"] = [
                {"output": echo.output.to_json(), "input": echo.input}
                for echo in self.echoes
            ]
        return parts

    @property
    def answered(self) -> tuple[Tensor, ...]:
        """All that an answer holds: the outputs, and those that repeat an input."""
        return self.outputs + tuple(echo.output for echo in self.echoes)

    @cached_property
    def fields(self) -> tuple[Tensor, ...]:
        """The inputs and auxiliary inputs, in row order."""
        return self.inputs + self.auxiliaries

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs and auxiliary inputs, in row order."""
        return tuple(tensor.name for tensor in self.fields)

    def check(self, body: Any, max_rows: int = 2**31) -> CheckedRows:
        """Check a decoded request body and turn its columns into rows.

        Raises InvalidInput, which names the input, the row and what was expected;
        TooLarge for more than max_rows rows.
        """
        if (row := self.plain_row(body)) is not None:
            return CheckedRows([row], False)
        return self.check_closely(body, max_rows)

    def check_closely(self, body: Any, max_rows: int = 2**31) -> CheckedRows:
        """Do what `check` does, for a body in which `plain_row` finds none."""
        if not isinstance(body, dict):
            raise InvalidInput(f"expected a JSON object, got {json_excerpt(body)}")
        self._check_names(body)
        size = body.get("batch_size")
        if self._has_defaults:
            body = self._defaults(size is None) | body
        if size is None:
            columns = [t.check_column((body[t.name],), None) for t in self.fields]
            return CheckedRows(list(zip(*columns, strict=True)), False)
        if type(size) is not int or size < 1:
            got = json_excerpt(size)
            raise InvalidInput(
                f"batch_size: expected an integer of 1 or more, got {got}"
            )
        if size > max_rows:
            got = json_excerpt(size)
            raise TooLarge(
                f"batch_size: at most {max_rows} rows in a request, got {got}"
            )
        columns = [_check_column(t, body[t.name], size) for t in self.fields]
        columns = self._repeated(columns, size)
        return CheckedRows(list(zip(*columns, strict=True)), True)

    def given(self, body: dict[str, Any], row: int) -> tuple[Any, ...]:
        """Return the JSON values of a row of a body that `check` has found valid."""
        is_row = body.get("batch_size") is None
        body = self._defaults(is_row) | body
        if is_row:
            return tuple([body[name] for name in self.names])
        columns = [_column(tensor, body[tensor.name]) for tensor in self.fields]
        return tuple([one[row if len(one) > 1 else 0] for one in columns])

    def _repeated(
        self, columns: Sequence[Sequence[Value]], size: int
    ) -> list[Sequence[Value]]:
        """Repeat single values for every row of a batch. Raises TooLarge."""
        costs = [0 if len(c) == size else _approximate_bytes(c[0]) for c in columns]
        if sum(costs) * size > _MAX_BROADCAST:
            name = self.names[costs.index(max(costs))]
            raise TooLarge(
                f"input {name!r}: the values that stand for all {size} rows are "
                f"{sum(costs)} bytes, {_MAX_BROADCAST // size} at most: send fewer rows"
            )
        return [c if len(c) == size else list(c) * size for c in columns]

    def parse(self, pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Turn the (name, text) pairs of a query string into a body for `check`.

        Raises InvalidInput for a name that comes twice and for text that its input's
        dtype does not have. Other names are left to `check`; reserved ones are ignored.
        """
        tensors = {tensor.name: tensor for tensor in self.fields}
        body: dict[str, Any] = {}
        for name, text in pairs:
            if name in RESERVED:
                continue
            if name in body:
                raise InvalidInput("given more than once", name)
            tensor = tensors.get(name)
            body[name] = _parse_text(tensor, text) if tensor else text
        return body

    def plain_row(self, body: Any) -> Row | None:
        """Return the row of a body of one row whose values are all plain, else None.

        PERF: most requests are such (python -m loadtests.parts.misses); `check_closely`
        is for the others.
        """
        if type(body) is not dict or len(body) != len(self.names):
            return None
        try:
            row = self._pick(body)
        except KeyError:
            return None
        if tuple(map(type, row)) not in self._plain_types:
            return None
        for i, low, high in self._bounds:
            if not low <= row[i] <= high:
                return None
        return row

    @cached_property
    def _pick(self) -> Callable[[Mapping[str, Any]], tuple[Any, ...]]:
        """A function that returns a body's values in row order. It raises KeyError."""
        names = self.names
        if len(names) > 1:
            return itemgetter(*names)
        return lambda body: tuple([body[name] for name in names])

    @cached_property
    def _plain_types(self) -> frozenset[tuple[type, ...]]:
        """All combinations of types that a plain row may have; none if too many."""
        choices = [tensor.plain_types for tensor in self.fields]
        if math.prod(map(len, choices)) > _MAX_TYPE_COMBINATIONS:
            return frozenset()
        return frozenset(product(*choices))

    @cached_property
    def _bounds(self) -> list[tuple[int, float, float]]:
        """The place in a row, least and greatest value of each number."""
        bounds = [tensor.bounds for tensor in self.fields]
        return [(i, *bound) for i, bound in enumerate(bounds) if bound]

    @cached_property
    def admits_missing(self) -> bool:
        """Whether a number of some input may be missing."""
        return any(tensor.missing for tensor in self.inputs)

    @cached_property
    def _has_defaults(self) -> bool:
        return any(tensor.default is not None for tensor in self.fields)

    @cached_property
    def _name_set(self) -> frozenset[str]:
        return frozenset(self.names)

    def _defaults(self, is_row: bool) -> dict[str, Any]:
        """Return the values, or in a batch the columns, that a body may leave out."""
        return {
            tensor.name: tensor.default if is_row else [tensor.default]
            for tensor in self.fields
            if tensor.default is not None
        }

    def _check_names(self, body: Mapping[str, Any]) -> None:
        if body.keys() == self._name_set:
            return
        present = body.keys() - RESERVED
        present |= self._defaults(True).keys()
        if present == self._name_set:
            return
        names = ", ".join(self.names)
        if unknown := present - self._name_set:
            raise InvalidInput(f"no such input; the model has: {names}", min(unknown))
        missing = ", ".join(sorted(self._name_set - present))
        raise InvalidInput(f"missing; the model takes: {names}", missing)


def _check_column(tensor: Tensor, values: Any, size: int) -> Sequence[Value]:
    """Check one input's column of a batch, or the one value that is for all rows."""
    values = _column(tensor, values)
    if not isinstance(values, list) or len(values) not in (1, size):
        is_list = isinstance(values, list)
        got = f"{len(values)} values" if is_list else json_excerpt(values)
        raise InvalidInput(
            f"expected a list of {size} values (batch_size) or of 1, got {got}",
            tensor.name,
        )
    return tensor.check_column(values)


def _column(tensor: Tensor, values: Any) -> Any:
    """Return an input's values in a batch as a list, if they are one."""
    if tensor.is_shared and tensor.is_value(values):
        return [values]
    return values.rows() if isinstance(values, Array) else values


def _approximate_bytes(value: Value) -> int:
    if isinstance(value, Block):
        elements = value.elements
        return len(elements) if isinstance(elements, bytes) else sum(map(len, elements))
    return len(value) if isinstance(value, str | bytes) else 8


def _parse_text(tensor: Tensor, text: str) -> Any:
    """Return the JSON value that a query parameter's text stands for."""
    if tensor.is_scalar and tensor.dtype in ("string", ANY):
        return text
    if tensor.dtype == "bool" and text.lower() in ("1", "t", "0", "f"):
        return text.lower() in ("1", "t")
    try:
        if tensor.missing:
            return json.loads(text)  # which reads NaN, too
        return orjson.loads(text.lower() if tensor.dtype == "bool" else text)
    except (ValueError, RecursionError):
        got = json_excerpt(text) + advice(text, tensor.dtype)
        raise InvalidInput(
            f"expected {tensor.expected}, got {got}", tensor.name
        ) from None
