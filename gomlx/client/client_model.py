"""One version of a model as a client has it: its contract, and the answers kept of it.

Entries are kept by row, not by key: a tuple needs no digest. A row and its canonical
row have the same answer, so both find it: the canonical one all its likes, the row as
it came at once.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from time import perf_counter
from typing import Any

import orjson
from cachebox import LRUCache

from gomlx.client.answer import Answer, Entry, Origin, Reader, key_size
from gomlx.client.columns import Columns
from gomlx.client.metrics import LOCAL
from gomlx.client.options import Options
from gomlx.contract.answer import SharedAnswers
from gomlx.contract.canonical import Exact
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Row, Tensor
from gomlx.errors import GomlxError, InvalidInput

_FEW = 64  # combinations of types that inputs come in


@dataclass(frozen=True)
class Rows:
    """Checked rows: plain as they are sent, canonical, and what each is kept under."""

    plain: list[tuple[Any, ...]]
    canonical: list[Row]
    keys: list[Hashable]


class ClientModel:
    """Any thread may look up and keep; an entry is looked up in one operation.

    Tuples that are equal must be rows that are equal, so where they need not be, rows
    are kept under their digests: a model that takes blocks, or auxiliary inputs, whose
    1 and 1.0 differ; a row with a -0.0 that the model can tell from 0.0.
    """

    def __init__(self, contract: Contract, options: Options) -> None:
        self.contract, self.version = contract, contract.version
        self.tag = f'"{contract.tag}"'  # until the service says another
        fields = contract.signature.fields
        self._names = contract.signature.names
        self._dictionary = Dictionary(
            contract.version, contract.signature, contract.kinds
        )
        outputs = () if contract.transforms else contract.signature.outputs
        self.shared = SharedAnswers(contract.model, contract.version, outputs)
        self.reader = Reader(outputs)
        self.keeps = contract.ttl_seconds > 0
        self._seconds = min(contract.ttl_seconds, options.ttl_seconds)
        self._negative_seconds = options.negative_seconds
        self._local = Origin(contract.version, LOCAL, True)
        least = max(options.max_bytes // options.max_entries, 1)
        # Not a method: editions that hand on their entries are not held by them.
        self._weight = partial(_weight, least)
        self._most = options.max_bytes
        self._entries: LRUCache[Hashable, Entry] = LRUCache(
            options.max_bytes, getsizeof=self._weight
        )
        self._get = self._entries.get
        self._is_direct = self.keeps and not contract.signature.auxiliaries
        self._is_direct &= all(tensor.is_scalar for tensor in fields)
        self._pick = _picker(self._names)
        numbers = [i for i, t in enumerate(fields) if t.dtype != "string"]
        self._numbers = _picker(numbers)
        self._allowed = [_types_of(fields[i].dtype).issuperset for i in numbers]
        self._signed = _picker(_signed(fields, contract))
        self._types: set[tuple[type, ...]] = set()

    def take_over(self, old: "ClientModel") -> None:
        """Go on with the entries of the same version under other settings.

        Not where answers live shorter now: those entries would live too long.
        """
        if self._seconds >= old._seconds:
            self._entries, self._get, self._types = old._entries, old._get, old._types

    def known(self, row: Mapping[str, Any], now: float) -> Entry | None:
        """Return the entry of a row, if it is known as it is. Never raises."""
        # PERF: this is all that most calls cost (loadtests/client.py).
        try:
            values = self._pick(row)
            entry = self._get(values)
        except (KeyError, TypeError):
            return None
        if entry is None or entry.until < now or len(row) != len(values):
            return None
        # Equal text is the same text; of numbers, 1 and True and 1.0 are equal too.
        if (*map(type, self._numbers(values)),) not in self._types:
            return None
        signed = self._signed(values)
        return None if 0.0 in signed and _has_negative_zero(signed) else entry

    def known_many(self, asked: Columns, now: float) -> list[Entry] | None:
        """Return the entries of all rows, if all are known as they are."""
        columns = asked.columns
        if not self._is_direct or len(columns) != len(self._names):
            return None
        try:
            values = self._pick(columns)
            pairs = zip(self._allowed, self._numbers(values), strict=True)
            if not all(allowed(map(type, column)) for allowed, column in pairs):
                return None
            if any(map(_has_negative_zero, self._signed(values))):
                return None
            rows = zip(*_broadcast(values, asked.size), strict=True)
            entries = list(map(self._get, rows))
        except (KeyError, TypeError):
            return None
        known = [entry for entry in entries if entry is not None and entry.until >= now]
        return known if len(known) == asked.size else None

    def rows(self, asked: Columns) -> Rows:
        """Check a question. Raises InvalidInput."""
        question = self.contract.signature.check(_question(asked))
        columns = [asked.columns[name] for name in self._names]
        for name, column in zip(self._names, columns, strict=True):
            _refuse_what_json_cannot_hold(name, column)
        plain = list(zip(*_broadcast(columns, asked.size), strict=True))
        canonical = self._dictionary.canonical(question.rows)
        return Rows(plain, canonical, self._keys(canonical))

    def find(self, rows: Rows, now: float) -> dict[Hashable, Entry]:
        """Return what is known of rows, by key."""
        if not self.keeps:
            return {}
        found = {}
        for key, plain in zip(rows.keys, rows.plain, strict=True):
            entry = self._get(key)
            if entry is not None and entry.until >= now:
                found[key] = entry
                self._alias(plain, key, entry)
        return found

    def keep(self, key: Hashable, plain: tuple[Any, ...], landed: Entry) -> None:
        """Keep what was landed of a row, for as long as it may live."""
        failed = landed.error is not None
        seconds = self._negative_seconds if failed else self._seconds
        if not self.keeps or seconds <= 0:
            return
        until = perf_counter() + seconds
        entry = Entry(landed.text, landed.values, self._local, until, landed.error)
        self._insert(key, entry)
        self._alias(plain, key, entry)

    def failed(self, error: GomlxError) -> Entry:
        """Return the entry of a row that has failed."""
        return Entry(b"", None, self._local, error=error)

    def names(self, canonical: Sequence[Row]) -> list[bytes]:
        """Return the names of rows' answers in the shared tier."""
        return [self.shared.name(key) for key in self._dictionary.keys(canonical)]

    def body(self, plain: Sequence[tuple[Any, ...]]) -> bytes:
        """Return the request for some rows."""
        if len(plain) == 1:
            return orjson.dumps(dict(zip(self._names, plain[0], strict=True)))
        columns = map(narrowed, zip(*plain, strict=True))
        # Some servers need to know the size before they read a column.
        pairs = zip(self._names, columns, strict=True)
        return orjson.dumps({"batch_size": len(plain), **dict(pairs)})

    def version_of(self, headers: Mapping[str, str], document: Any) -> str:
        """Return the version that a response tells of; empty if it is none of ours."""
        return headers.get("gomlx-version", "")

    def answer(self, entry: Entry, seconds: float) -> Answer:
        """Return a new answer. Raises the error of a row that has failed."""
        return self.reader.answer(entry, seconds)

    def size(self) -> tuple[int, int]:
        """Return how many entries there are, and about how many bytes they take."""
        return len(self._entries), self._entries.current_size()

    def _keys(self, canonical: list[Row]) -> list[Hashable]:
        if not self.keeps:  # each by itself, even those that are equal
            return [object() for _ in canonical]
        if not self._is_direct:
            return list(self._dictionary.keys(canonical))
        signed = self._signed
        return [
            self._dictionary.keys([row])[0] if _has_negative_zero(signed(row)) else row
            for row in canonical
        ]

    def _alias(self, plain: tuple[Any, ...], key: Hashable, entry: Entry) -> None:
        """Let a row be found as it came."""
        if not self._is_direct or _has_negative_zero(self._signed(plain)):
            return
        types = (*map(type, self._numbers(plain)),)
        if types not in self._types:
            pairs = zip(self._allowed, types, strict=True)
            if not all(allowed((kind,)) for allowed, kind in pairs):
                return  # such as a list of one: it can be no key
            if len(self._types) < _FEW:
                self._types.add(types)
        if plain == key:
            return
        try:
            self._insert(plain, entry)
        except TypeError:
            return  # text may be in a list of one, too, or be {"b64": …}

    def _insert(self, key: Hashable, entry: Entry) -> None:
        if self._weight(key, entry) <= self._most:
            self._entries.insert(key, entry)


def _weight(least: int, key: Hashable, entry: Entry) -> int:
    """One bound for both: an entry takes its share of the bytes at least."""
    return max(entry.size + key_size(key), least)


def _question(asked: Columns) -> dict[str, Any]:
    if asked.is_batch:
        return {"batch_size": asked.size, **asked.columns}
    return {name: value for name, (value,) in asked.columns.items()}


def _refuse_what_json_cannot_hold(name: str, column: Sequence[Any]) -> None:
    """Raise InvalidInput for half a character: Python has such text."""
    try:
        orjson.dumps(column)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"JSON cannot hold it: {error}", name) from None


def _picker(places: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """Return a function that picks elements, always as a tuple."""
    if len(places) > 1:
        return itemgetter(*places)
    if places:
        (place,) = places
        return lambda row: (row[place],)
    return lambda row: ()


def _signed(fields: Sequence[Tensor], contract: Contract) -> list[int]:
    """Where a model may tell -0.0 from 0.0."""
    return [
        i
        for i, (tensor, kind) in enumerate(zip(fields, contract.kinds, strict=True))
        if "float" in tensor.dtype and isinstance(kind, Exact)
    ]


def _types_of(dtype: str) -> frozenset[type]:
    """Return the types of Python that values of a dtype may have."""
    if "float" in dtype:
        return frozenset({float, int})
    return frozenset({bool if dtype == "bool" else int})


def _has_negative_zero(values: Sequence[Any]) -> bool:
    return 0.0 in values and "-0.0" in map(str, values)


def _broadcast(columns: Iterable[Sequence[Any]], size: int) -> list[Sequence[Any]]:
    return [c if len(c) == size else [c[0]] * size for c in columns]


def narrowed(column: tuple[Any, ...]) -> Sequence[Any]:
    """Return a column that holds one object again and again as a column of one."""
    first = column[0]
    return (first,) if all(value is first for value in column) else column
