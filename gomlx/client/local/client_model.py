"""One version of a model as a client has it: its contract, and its kept answers.

Answers are kept under the canonical row, which all rows with that answer share, and
under the row as it came, which is found without making it canonical.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import orjson

from gomlx.client.answer import Answer, AnswerEntry, AnswerOrigin, AnswerReader
from gomlx.client.columns import InputColumns
from gomlx.client.local.digits import sent
from gomlx.client.local.kept_answers import KeptAnswers, KeptLimits, Lifetimes
from gomlx.client.local.row_matcher import RowMatcher, broadcast
from gomlx.client.local.rows import KeyedRows, MissingRow, PlainRow
from gomlx.client.metrics import LOCAL
from gomlx.client.options import Options
from gomlx.contract.answer import SharedAnswers, SharedLists
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError, InvalidInput


class ClientModel:
    """The contract and the kept answers of one version of a model.

    Any thread may call any method but `adopt`. etag is the contract's, as the service
    has it or is expected to. namespace: the names
    and the checks of answers in the shared tier.
    """

    def __init__(self, contract: Contract, options: Options) -> None:
        signature = contract.signature
        self.contract = contract
        self.etag = f'"{contract.tag}"'
        self._dictionary = Dictionary(contract.version, signature, contract.kinds)
        outputs = () if contract.transforms else signature.outputs
        shared = SharedLists if contract.rows_together else SharedAnswers
        self.namespace = shared(contract.model, contract.version, outputs)
        self.reader = AnswerReader(() if contract.transforms else signature.answered)
        self._kept = KeptAnswers(
            contract.version,
            _lifetimes(contract, options),
            KeptLimits(options.max_entries, options.max_bytes),
        )
        self._matcher = RowMatcher(
            signature, contract.kinds, self._kept, self._keeps_rows
        )
        # PERF: bound here, a local hit takes one call less (loadtests/parts/client.py).
        self.lookup = self._matcher.lookup
        self.lookup_many = self._matcher.lookup_many

    @property
    def version(self) -> str:
        return self.contract.version

    @property
    def keeps_answers(self) -> bool:
        """Whether the service lets answers be kept; if not, equal rows are not one."""
        return self.contract.ttl_seconds > 0

    @property
    def _keeps_rows(self) -> bool:
        """Whether a kept answer is that of a row."""
        return self.keeps_answers and not self.contract.rows_together

    def adopt(self, older: "ClientModel") -> None:
        """Continue with the answers of the same version under older settings.

        Not if answers live shorter now. To be called before any other method.
        """
        if self._kept.adopt(older._kept):
            self._matcher.adopt(older._matcher)

    def rows(self, inputs: InputColumns) -> KeyedRows:
        """Return the rows of a request. Raises InvalidInput if they do not fit."""
        signature = self.contract.signature
        checked = signature.check(_document(inputs))
        ordered = [inputs.by_name[name] for name in signature.names]
        for tensor, column in zip(signature.fields, ordered, strict=True):
            if tensor.bounds is None:  # numbers have been checked
                _check_encodable(tensor.name, column)
        plain = list(zip(*broadcast(ordered, inputs.size), strict=True))
        canonical = self._dictionary.canonical(checked.rows)
        keys = self._row_keys(checked.rows, canonical)
        return KeyedRows(plain, canonical, list(keys))

    def answers(self, entries: Sequence[AnswerEntry], seconds: float) -> list[Answer]:
        """Return an answer for each row of a request. Raises the error of a row."""
        answer = self.reader.answer
        return [answer(entry, seconds) for entry in entries]

    def lookup_rows(self, rows: KeyedRows, now: float) -> dict[Hashable, AnswerEntry]:
        """Return the kept entries of rows, by key; now: in seconds of perf_counter."""
        if not self.keeps_answers:
            return {}
        found = {}
        for key, plain in zip(rows.keys, rows.plain, strict=True):
            entry = self._kept.get(key)
            if entry is not None and entry.expires_at >= now:
                found[key] = entry
                self._matcher.alias(plain, key, entry)
        return found

    def store(self, key: Hashable, plain: PlainRow, fetched: AnswerEntry) -> None:
        """Keep the fetched entry of a row, for as long as its kind may be kept."""
        kept = self._kept.store(key, fetched)
        if kept is not None:
            self._matcher.alias(plain, key, kept)

    def failed(self, error: GomlxError) -> AnswerEntry:
        """Return the entry of a row that failed, which is not kept yet."""
        origin = AnswerOrigin(self.version, LOCAL, True)
        return AnswerEntry(b"", None, origin, error=error)

    def entry_of(
        self, key: Hashable, value: bytes, origin: AnswerOrigin
    ) -> AnswerEntry:
        """Return the entry of a row from a kept answer in JSON.

        Raises KeyError, TypeError or ValueError if it does not fit the outputs.
        """
        return self.reader.entry(value, origin, orjson.loads(value))

    def outputs_of(self, answer: Any) -> Any:
        """Return what a shared tier holds of a parsed answer.

        Raises KeyError, TypeError or ValueError if it is not one of this model.
        """
        return answer

    def space(self, rows: Mapping[Hashable, MissingRow]) -> SharedAnswers:
        """Return what validates the answers of rows."""
        return self.namespace

    def shared_names(self, canonical: Sequence[Row]) -> list[bytes]:
        """Return the names of rows' answers in the shared tier."""
        return [self.namespace.name(key) for key in self._dictionary.keys(canonical)]

    def request_body(self, plain: Sequence[PlainRow]) -> bytes:
        """Return the body of a request for some rows."""
        fields = self.contract.signature.fields
        columns = [
            sent(tensor, narrowed(column))
            for tensor, column in zip(fields, zip(*plain, strict=True), strict=True)
        ]
        # Some servers need to know the size before they read a column.
        document: dict[str, Any] = {"batch_size": len(plain)}
        if len(plain) == 1:
            document = {}
            columns = [column[0] for column in columns]
        names = self.contract.signature.names
        document |= zip(names, columns, strict=True)
        return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

    def version_in(self, headers: Mapping[str, str], document: Any) -> str:
        """Return the version that a response names; empty if no service sent it."""
        return headers.get("gomlx-version", "")

    def kept_size(self) -> tuple[int, int]:
        """Return the number of kept entries, and about how many bytes they take."""
        return self._kept.size()

    def _row_keys(
        self, checked: Sequence[Row], canonical: list[Row]
    ) -> Sequence[Hashable]:
        """Return the keys that answers are kept under. checked: the rows as given."""
        if not self.keeps_answers:
            return [object() for _ in canonical]
        digests = self._dictionary.keys
        if not self._matcher.is_possible:
            return list(digests(canonical))
        is_key = self._matcher.is_key
        return [row if is_key(row) else digests([row])[0] for row in canonical]


def narrowed(column: tuple[Any, ...]) -> Sequence[Any]:
    """Return a column that repeats one object as a column of one."""
    first = column[0]
    return (first,) if all(value is first for value in column) else column


def _lifetimes(contract: Contract, options: Options) -> Lifetimes:
    if contract.ttl_seconds <= 0:  # not even the errors of rows
        return Lifetimes(0.0, 0.0)
    answer = min(contract.ttl_seconds, options.ttl_seconds)
    return Lifetimes(answer, options.negative_seconds)


def _document(inputs: InputColumns) -> dict[str, Any]:
    """Return what a JSON body would hold."""
    if inputs.is_batch:
        return {"batch_size": inputs.size, **inputs.by_name}
    return {name: value for name, (value,) in inputs.by_name.items()}


def _check_encodable(name: str, column: Sequence[Any]) -> None:
    """Raise InvalidInput for values that JSON cannot hold, such as lone surrogates."""
    try:
        orjson.dumps(column)
    except orjson.JSONEncodeError as error:
        raise InvalidInput(f"JSON cannot hold it: {error}", name) from None
