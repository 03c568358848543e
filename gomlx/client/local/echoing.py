"""A model with outputs that repeat inputs, such as the id of a row.

What is kept, and what the shared tier holds, has none of them: rows that differ in
their ids only share it, and the answer of each gets its own back. What is under way is
a row's own, ids and all: it may be answered by another version, whose answers may
depend on them.
"""

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple, cast

import orjson

from gomlx.client.answer import AnswerEntry, AnswerOrigin
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.rows import KeyedRows, PlainRow
from gomlx.client.options import Options
from gomlx.contract.document import Contract
from gomlx.contract.echoes import Echoes, completed
from gomlx.contract.tensor import Row


class _Key(NamedTuple):
    """The key of what rows share, and the members that the answer of this one adds."""

    shared: bytes
    members: bytes


class EchoModel(ClientModel):
    """A ClientModel whose answers are kept without the outputs that repeat inputs."""

    def __init__(self, contract: Contract, options: Options) -> None:
        super().__init__(contract, options)
        self._echoes = Echoes(contract.signature)

    def lookup_rows(self, rows: KeyedRows, now: float) -> dict[Hashable, AnswerEntry]:
        if not self.keeps_answers:
            return {}
        found: dict[Hashable, AnswerEntry] = {}
        for key, plain in zip(cast(list[_Key], rows.keys), rows.plain, strict=True):
            kept = self._kept.get(key.shared)
            if kept is not None and kept.expires_at >= now:
                found[key] = entry = self._completed(kept, key)
                self._matcher.alias(plain, key, entry)
        return found

    def store(self, key: Hashable, plain: PlainRow, fetched: AnswerEntry) -> None:
        if not isinstance(key, _Key):  # nothing is kept
            return
        kept = self._kept.store(key.shared, self._without_echoes(fetched))
        if kept is not None:
            self._matcher.alias(plain, key, self._completed(kept, key))

    def entry_of(
        self, key: Hashable, value: bytes, origin: AnswerOrigin
    ) -> AnswerEntry:
        if isinstance(key, _Key):
            (value,) = completed([value], [key.members])
        return super().entry_of(key, value, origin)

    def outputs_of(self, answer: Any) -> Any:
        rest = dict(answer)
        for echo in self.contract.signature.echoes:
            del rest[echo.output.name]
        return rest

    def _row_keys(
        self, checked: Sequence[Row], canonical: list[Row]
    ) -> Sequence[Hashable]:
        if not self.keeps_answers:
            return super()._row_keys(checked, canonical)
        keys = self._dictionary.keys(canonical)
        return list(map(_Key, keys, self._echoes.of(checked)))

    def _completed(self, kept: AnswerEntry, key: _Key) -> AnswerEntry:
        """Return the entry of a row from what it shares with others."""
        if kept.error is not None:
            return kept
        entry = self.entry_of(key, kept.text, kept.origin)
        entry.expires_at = kept.expires_at
        return entry

    def _without_echoes(self, fetched: AnswerEntry) -> AnswerEntry:
        if fetched.error is not None:
            return fetched
        rest = self.outputs_of(orjson.loads(fetched.text))
        return AnswerEntry(orjson.dumps(rest), None, fetched.origin)
