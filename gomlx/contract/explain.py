"""What is known of a version's keys: its inputs, canonical rows, and what collapsed.

For people: `gomlx inspect`, `gomlx key`, and routes and a page that show the same.
"""

import json
import math
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import repeat
from typing import Any, NamedTuple

from gomlx.contract.agreement import check_agreement
from gomlx.contract.canonical import Buckets, Kind, Vocabulary
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.dtypes import FLOAT_LIMITS
from gomlx.contract.key import request_key
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row, Scalar, Tensor, Value
from gomlx.errors import InvalidInput

_MAX_DISTINCT = 10**18
_EXAMPLES = 12


class Question(NamedTuple):
    """The rows of a request for one answer, and the JSON values that it has for them.

    One row, unless rows are answered together. given: of each row, in row order.
    """

    rows: list[Row]
    given: list[tuple[Any, ...]]


@dataclass(frozen=True)
class Explainer:
    """A version's digest, its signature, and the dictionary that keys its rows.

    rows_apart: why rows of different requests run one at a time, or empty. A request
    is one question, and has one key, if rows_together.
    """

    version: str
    signature: Signature
    dictionary: Dictionary
    rows_apart: str = ""
    rows_together: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return what `gomlx inspect` shows."""
        return {
            "inputs": self.inputs(),
            "key_space": self.key_space(),
            "rows_apart": self.rows_apart,
            "rows_together": self.rows_together,
        }

    def inputs(self) -> list[dict[str, Any]]:
        """Return a line of the table for each input.

        distinct is the number of canonical values; None if it has no bound, or one
        beyond 10**18, which no cache can hold.
        """
        return [
            {
                "input": tensor.name,
                "dtype": tensor.dtype,
                "shape": None if tensor.shape is None else list(tensor.shape),
                "kind": kind.kind,
                "proof": kind.proof,
                "distinct": _distinct(tensor, kind),
                "form": form(tensor),
            }
            for tensor, kind in self._fields()
        ]

    def key_space(self) -> int | None:
        """Return the number of keys; None as for an input."""
        sizes = [_distinct(tensor, kind) for tensor, kind in self._fields()]
        bounded = [size for size in sizes if size is not None]
        return _bounded_product(bounded) if len(bounded) == len(sizes) else None

    def examples(self) -> dict[str, list[Any]]:
        """Return a few of the values that the model knows, by input, as JSON has them.

        Inputs of other kinds than a vocabulary have none.
        """
        return {
            tensor.name: list(map(_encoded, nsmallest(_EXAMPLES, kind.known, _by_type)))
            for tensor, kind in self._fields()
            if isinstance(kind, Vocabulary)
        }

    def question(self, body: Any, max_rows: int = 2**31) -> Question:
        """Check the body of a request for one answer.

        Raises InvalidInput; TooLarge for more than max_rows rows.
        """
        checked = self.signature.check(body, max_rows)
        if checked.is_batch and not self.rows_together:
            raise InvalidInput("expected one row, without batch_size")
        if self.rows_together:
            check_agreement(self.signature, self.dictionary.canonical(checked.rows))
        given = [self.signature.given(body, n) for n in range(len(checked.rows))]
        return Question(checked.rows, given)

    def explain(self, question: Question) -> dict[str, Any]:
        """Return the canonical row, the values that collapsed, and the key.

        The first two are those of each row if rows are answered together.
        """
        canonical = self.dictionary.canonical(question.rows)
        keys = self.dictionary.keys(canonical)
        rows = list(map(self._explained, question.rows, question.given, canonical))
        if self.rows_together:
            return {"rows": rows, "key": request_key(keys).hex()}
        return rows[0] | {"key": keys[0].hex()}

    def _explained(
        self, row: Row, given: tuple[Any, ...], canonical: Row
    ) -> dict[str, Any]:
        pairs = zip(self.signature.fields, canonical, strict=True)
        return {
            "canonical": {
                tensor.name: _plain(tensor, value) for tensor, value in pairs
            },
            "collapsed": dict(self._collapsed(row, given, canonical)),
        }

    def differing(self, questions: Sequence[Question]) -> list[str]:
        """Return the names of the inputs that give questions different keys."""
        if len({len(question.rows) for question in questions}) > 1:
            return ["the number of rows"]
        columns = [
            zip(*self.dictionary.canonical(question.rows), strict=True)
            for question in questions
        ]
        return [
            tensor.name
            for (tensor, kind), values in zip(
                self._fields(), zip(*columns, strict=True), strict=True
            )
            if kind.distinct != 1 and len(set(map(_typed, values))) > 1
        ]

    def _collapsed(
        self, row: Row, given: tuple[Any, ...], canonical: Row
    ) -> Iterator[tuple[str, str]]:
        values = zip(row, given, canonical, strict=True)
        for (tensor, kind), (value, raw, found) in zip(
            self._fields(), values, strict=True
        ):
            elements = _elements(tensor, value, raw)
            pairs = zip(elements, tensor.elements(found), strict=True)
            if reasons := _reasons(kind, pairs):
                arrow = f"{raw!r} → {_plain(tensor, found)!r}"
                yield tensor.name, f"{arrow} ({'; '.join(reasons)})"

    def _fields(self) -> list[tuple[Tensor, Kind]]:
        return list(zip(self.signature.fields, self.dictionary.kinds, strict=True))


def form(tensor: Tensor) -> str:
    """Say what a request may have, or must have, beside the dtype and the shape."""
    parts = {
        "lists of any length": tensor.ragged > 0,
        "sparse": tensor.is_sparse,
        "may be missing": bool(tensor.missing),
        "one for all rows": tensor.is_shared,
        f"default {json.dumps(tensor.default)}": tensor.default is not None,
    }
    return ", ".join(text for text, applies in parts.items() if applies)


def _by_type(value: Scalar) -> tuple[str, Any]:
    return type(value).__name__, value


def _typed(column: Sequence[Value]) -> tuple[tuple[type, str], ...]:
    return tuple([(type(value), str(value)) for value in column])


def _distinct(tensor: Tensor, kind: Kind) -> int | None:
    """Return the number of canonical values of an input, all elements together."""
    distinct = kind.distinct
    if distinct is not None and tensor.missing and isinstance(kind, Buckets):
        distinct += 1  # NaN
    if distinct is None or tensor.is_scalar:
        return distinct
    if tensor.shape is None or None in tensor.shape or tensor.is_sparse:
        return None
    elements = math.prod(d for d in tensor.shape if d is not None)
    return _bounded_product(repeat(distinct, elements))


def _bounded_product(factors: Iterable[int]) -> int | None:
    """Multiply; None beyond _MAX_DISTINCT."""
    product = 1
    for factor in factors:
        product *= factor
        if product > _MAX_DISTINCT:
            return None
    return product


def _elements(tensor: Tensor, value: Value, raw: Any) -> Sequence[Any]:
    """Return the elements of a checked value, numbers as its JSON value has them.

    A block holds its floats as the dtype does, which may differ from what was given.
    """
    elements = tensor.elements(value)
    if tensor.is_scalar or tensor.dtype not in FLOAT_LIMITS:
        return elements
    pairs = zip(tensor.leaves(raw), elements, strict=True)
    return [a if type(a) in (int, float) else b for a, b in pairs]


def _reasons(kind: Kind, pairs: Iterable[tuple[Scalar, Scalar]]) -> list[str]:
    """Return why elements collapsed, each reason once. pairs: (given, found)."""
    return list(
        dict.fromkeys(kind.why(a) for a, b in pairs if a != b and not _is_nan(b))
    )


def _plain(tensor: Tensor, value: Value) -> Any:
    """Return a value as the JSON of a request has it."""
    return _encoded(tensor.nested(value))


def _is_nan(found: Value) -> bool:
    return isinstance(found, float) and math.isnan(found)


def _encoded(value: Any) -> Any:
    """Return nested values, or a sparse one, as JSON has them."""
    if isinstance(value, list):
        return list(map(_encoded, value))
    if isinstance(value, dict):
        return {name: _encoded(part) for name, part in value.items()}
    if _is_nan(value):
        return "NaN"
    if isinstance(value, bytes):
        return {"b64": b64encode(value).decode()}
    return value
