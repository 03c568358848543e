"""What users have (lists, arrays, frames, rows) → columns that JSON can hold.

numpy, pandas, polars and Arrow are recognized by their methods, never imported.
"""

import base64
from array import array as StandardArray
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from gomlx.errors import InvalidInput

T = TypeVar("T")
_JSON = frozenset({str, int, float, bool, type(None)})


class InputColumns(NamedTuple):
    """The inputs of a request, not checked against the model.

    by_name: a column for each input, of `size` values or of one for every row.
    """

    by_name: dict[str, list[Any]]
    size: int
    is_batch: bool = True


def columns_of_row(row: Mapping[str, Any]) -> InputColumns:
    """Return the columns of a single row, {input: value}. Raises InvalidInput."""
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        raise InvalidInput(f"expected a row, {{input: value}}, got a {kind}")
    columns = {str(name): [to_json(value)] for name, value in row.items()}
    return InputColumns(columns, 1, False)


def columns_of_batch(data: Any) -> InputColumns:
    """Return the columns of a batch that is given as columns, a frame, or rows.

    A column of length 1, or a value that is not a column, stands for every row. Raises
    InvalidInput.
    """
    columns = {str(name): _column(values) for name, values in _items(data)}
    sizes = set(map(len, columns.values()))
    if len(sizes - {1}) > 1:
        lengths = ", ".join(f"{name} {len(column)}" for name, column in columns.items())
        raise InvalidInput(f"expected columns of one length, or of 1, got {lengths}")
    size = (sizes - {1} or sizes or {0}).pop()
    return InputColumns(columns, size)


def only_rows(rows: T) -> T:
    """Return rows as they are. Raises TypeError for columns, which iterate as names."""
    if isinstance(rows, Mapping) or hasattr(rows, "columns"):
        kind = type(rows).__name__
        raise TypeError(f"expected one row after the other, got a {kind} of columns")
    return rows


def to_json(value: Any) -> Any:
    """Return a value as JSON can hold it; what JSON has no form for as it is."""
    if type(value) in _JSON:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return _text(bytes(value))
    for method in ("tolist", "to_list", "to_pylist", "as_py"):
        if hasattr(value, method):
            found = getattr(value, method)()
            return found if _holds_numbers(value) else to_json(found)
    if isinstance(value, list | tuple):
        is_done = _JSON.issuperset(map(type, value))
        return list(value) if is_done else [to_json(element) for element in value]
    if type(value).__name__ == "NAType":  # of pandas: a missing value
        return None
    kinds = (str, bool, int, float)  # whose subclasses orjson may refuse
    kind = next((kind for kind in kinds if isinstance(value, kind)), None)
    return kind(value) if kind else value


def _holds_numbers(array: Any) -> bool:
    """True for an array of numpy, or of the standard library, whose list is of numbers.

    Whatever its size, no element needs a look.
    """
    kind = getattr(getattr(array, "dtype", None), "kind", "")
    return kind in tuple("biuf") or isinstance(array, StandardArray)


def _text(value: bytes) -> Any:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode()}


def _items(data: Any) -> Iterable[tuple[Any, Any]]:
    if isinstance(data, Mapping):
        return data.items()
    if hasattr(data, "to_pydict"):  # Arrow
        items: Iterable[tuple[Any, Any]] = data.to_pydict().items()
        return items
    if hasattr(data, "columns"):
        return [(name, data[name]) for name in data.columns]
    if isinstance(data, Iterable) and not isinstance(data, str | bytes):
        return _transposed(list(data))
    kind = type(data).__name__
    raise InvalidInput(f"expected columns, a frame or rows, got a {kind}")


def _transposed(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Any]]]:
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            kind = type(row).__name__
            raise InvalidInput(f"row {i}: expected {{input: value}}, got a {kind}")
        if row.keys() != rows[0].keys():
            odd = ", ".join(sorted(map(str, row.keys() ^ rows[0].keys())))
            raise InvalidInput(f"row {i} has other inputs than row 0: {odd}")
    names = rows[0] if rows else ()
    # Always lists: a value of a single row could be mistaken for a column.
    return [(name, [row[name] for row in rows]) for name in names]


def _column(values: Any) -> list[Any]:
    if type(values) is not list:
        values = _listed(values)
    if _JSON.issuperset(map(type, values)):
        return values  # type: ignore[no-any-return]  # a list by now
    return [to_json(value) for value in values]


def _listed(values: Any) -> list[Any]:
    for method in ("tolist", "to_list", "to_pylist"):
        if hasattr(values, method):
            found = getattr(values, method)()
            return found if isinstance(found, list) else [found]
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        return [values]
    return list(values)
