"""Rows that are found as they came: without a check, a canonical row or a digest.

A tuple of a row's values is a key that needs no digest, but tuples that are equal must
then be rows that are equal. Text is. Numbers are not always: 1, 1.0 and True are equal,
and so are 0.0 and -0.0. So a row is found as it came only if the types of its numbers
were valid for the model before, and if it has no -0.0 where the model may treat that
differently, and no NaN, which is not even equal to itself. Rows with blocks or
auxiliary inputs, whose 1 and 1.0 differ, are kept under their digests only.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from math import isnan
from operator import itemgetter
from typing import Any

from gomlx.client.answer import AnswerEntry
from gomlx.client.columns import InputColumns
from gomlx.client.local.kept_answers import KeptAnswers
from gomlx.client.local.rows import PlainRow
from gomlx.contract.canonical import Exact, Kind
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row, Tensor

_MOST_TYPES = 64  # combinations of types that inputs come in


class RowMatcher:
    """Finds kept answers by rows as they came. Any thread may call any method.

    is_possible: False if rows of the model may be equal and yet differ, or if its
    answers are not kept at all.
    """

    def __init__(
        self,
        signature: Signature,
        kinds: Sequence[Kind],
        kept: KeptAnswers,
        is_enabled: bool = True,
    ) -> None:
        fields = signature.fields
        self._kept = kept
        self._get = kept.get
        self.is_possible = is_enabled and not signature.auxiliaries
        self.is_possible &= all(tensor.is_scalar for tensor in fields)
        self._input_count = len(fields)
        self._pick = _picker(signature.names)
        numbers = [i for i, t in enumerate(fields) if t.dtype != "string"]
        self._numbers = _picker(numbers)
        self._allowed = [_types_of(fields[i].dtype).issuperset for i in numbers]
        self._signed = _picker(_signed(fields, kinds))
        self._missing = _picker([i for i, t in enumerate(fields) if t.missing])
        self._valid_types: set[tuple[type, ...]] = set()

    def adopt(self, older: "RowMatcher") -> None:
        """Share what an older matcher of the same version finds."""
        self._get = older._get
        self._valid_types = older._valid_types

    def lookup(self, row: Mapping[str, Any], now: float) -> AnswerEntry | None:
        """Return the entry of a row if it is kept as it came. Never raises.

        now: in seconds of the clock that entries expire by.
        """
        # PERF: this is most of what a local hit costs (loadtests/parts/client.py).
        try:
            values = self._pick(row)
            entry = self._get(values)
        except (KeyError, TypeError):
            return None
        if entry is None or entry.expires_at < now or len(row) != len(values):
            return None
        if (*map(type, self._numbers(values)),) not in self._valid_types:
            return None
        signed = self._signed(values)
        return None if 0.0 in signed and has_negative_zero(signed) else entry

    def lookup_many(self, inputs: InputColumns, now: float) -> list[AnswerEntry] | None:
        """Return the entries of all rows if all are kept as they came, else None."""
        columns = inputs.by_name
        if not self.is_possible or len(columns) != self._input_count:
            return None
        try:
            values = self._pick(columns)
            pairs = zip(self._allowed, self._numbers(values), strict=True)
            if not all(allowed(map(type, column)) for allowed, column in pairs):
                return None
            if any(map(has_negative_zero, self._signed(values))):
                return None
            rows = zip(*broadcast(values, inputs.size), strict=True)
            entries = list(map(self._get, rows))
        except (KeyError, TypeError):
            return None
        known = [
            entry for entry in entries if entry is not None and entry.expires_at >= now
        ]
        return known if len(known) == inputs.size else None

    def is_key(self, canonical: Row) -> bool:
        """Return whether a row may be its own key, given that matching is possible."""
        return not self._is_ambiguous(canonical)

    def alias(self, plain: PlainRow, key: Hashable, entry: AnswerEntry) -> None:
        """Let the entry of a checked row, kept under a key, be found by the row too."""
        if not self.is_possible or self._is_ambiguous(plain):
            return
        if not self._are_valid(tuple(map(type, self._numbers(plain)))):
            return
        if plain == key:
            return
        try:
            self._kept.insert(plain, entry)
        except TypeError:
            return  # no hash: text may be {"b64": …}, or in a list of one

    def _is_ambiguous(self, row: Row) -> bool:
        """Return whether an equal row may be another one, or this one is not equal."""
        if has_negative_zero(self._signed(row)):
            return True
        return any(isinstance(v, float) and isnan(v) for v in self._missing(row))

    def _are_valid(self, types: tuple[type, ...]) -> bool:
        """Return whether a row's numbers have types that can be keys; remember them."""
        if types in self._valid_types:
            return True
        pairs = zip(self._allowed, types, strict=True)
        if not all(allowed((kind,)) for allowed, kind in pairs):
            return False  # such as a list of one number
        if len(self._valid_types) < _MOST_TYPES:
            self._valid_types.add(types)
        return True


def broadcast(columns: Iterable[Sequence[Any]], size: int) -> list[Sequence[Any]]:
    """Return columns of `size` values: one that stands for every row is repeated."""
    return [c if len(c) == size else [c[0]] * size for c in columns]


def has_negative_zero(values: Sequence[Any]) -> bool:
    return 0.0 in values and "-0.0" in map(str, values)


def _picker(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that picks elements by index or key, always as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    if places:
        (place,) = places
        return lambda row: (row[place],)
    return lambda row: ()


def _signed(fields: Sequence[Tensor], kinds: Sequence[Kind]) -> list[int]:
    """Return the places of inputs where -0.0 and 0.0 may differ for a model."""
    return [
        i
        for i, (tensor, kind) in enumerate(zip(fields, kinds, strict=True))
        if "float" in tensor.dtype and isinstance(kind, Exact)
    ]


def _types_of(dtype: str) -> frozenset[type]:
    """Return the Python types that values of a numeric or bool dtype may have."""
    if "float" in dtype:
        return frozenset({float, int})
    return frozenset({bool if dtype == "bool" else int})
