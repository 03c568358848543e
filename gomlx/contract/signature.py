"""What a model takes and gives, and the check of a question against it.

A question is a JSON object: an input's name → its value, or with `batch_size` its
column. It becomes rows: tuples with one value per input, in the signature's order.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from operator import itemgetter
from typing import Any, NamedTuple

import orjson

from gomlx.contract.tensor import ANY, Block, Row, Tensor, Value, shown
from gomlx.errors import InvalidInput, TooLarge

# A column of length 1 stands for every row of its batch; a key is made of each.
_MAX_BROADCAST = 16 << 20
RESERVED = frozenset({"batch_size", "cache_key"})


# A number may be an int or a float: so many ways for the inputs of a row together.
_MOST_TYPES = 1 << 10


class CheckedRows(NamedTuple):
    """The rows of one request; a single row unless it came with `batch_size`."""

    rows: list[Row]
    is_batch: bool


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

    def check(self, asked: Any, max_rows: int = 2**31) -> CheckedRows:
        """Check a decoded JSON object and turn its columns into rows.

        Raises InvalidInput; TooLarge for more than max_rows rows.
        """
        if (row := self.plain_row(asked)) is not None:
            return CheckedRows([row], False)
        if not isinstance(asked, dict):
            raise InvalidInput(f"expected a JSON object, got {shown(asked)}")
        self._check_names(asked)
        size = asked.get("batch_size")
        if size is None:
            columns = [t.column((asked[t.name],), None) for t in self.fields]
            return CheckedRows(list(zip(*columns, strict=True)), False)
        if type(size) is not int or size < 1:
            raise InvalidInput(
                f"batch_size: expected an integer of 1 or more, got {shown(size)}"
            )
        if size > max_rows:
            raise TooLarge(
                f"batch_size: at most {max_rows} rows in a request, got {shown(size)}"
            )
        columns = [_batch_column(t, asked[t.name], size) for t in self.fields]
        return CheckedRows(list(zip(*columns, strict=True)), True)

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

    def plain_row(self, asked: Any) -> Row | None:
        """Return the one row that is asked for, if its values are right as they are.

        PERF: as in most questions; None says that `check` must look closer.
        """
        if type(asked) is not dict or len(asked) != len(self.names):
            return None
        try:
            row = self._pick(asked)
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
        """Return the values of a question in row order. Raises KeyError."""
        names = self.names
        if len(names) > 1:
            return itemgetter(*names)
        return lambda asked: tuple([asked[name] for name in names])

    @cached_property
    def _plain_types(self) -> frozenset[tuple[type, ...]]:
        choices = [tensor.plain_types for tensor in self.fields]
        count = math.prod(map(len, choices))
        return frozenset(product(*choices)) if count <= _MOST_TYPES else frozenset()

    @cached_property
    def _bounds(self) -> list[tuple[int, float, float]]:
        bounds = [tensor.bounds for tensor in self.fields]
        return [(i, *bound) for i, bound in enumerate(bounds) if bound]

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
        got = f"{len(values)} values" if isinstance(values, list) else shown(values)
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
        reason = f"expected {tensor.expected}, got {shown(text)}"
        raise InvalidInput(reason, tensor.name) from None
