"""A model that answers the rows of a request together: the request is the question.

Its rows, in their order, are one to what looks up, keeps and fetches answers: a row of
rows, with one key and one answer, which is the list of theirs.
"""

from collections.abc import Hashable, Mapping, Sequence
from typing import cast

from gomlx.client.answer import Answer, AnswerEntry
from gomlx.client.columns import InputColumns
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.rows import KeyedRows, MissingRow, PlainRow
from gomlx.contract.answer import SharedAnswers
from gomlx.contract.key import request_key
from gomlx.contract.tensor import Row


class TogetherModel(ClientModel):
    """A ClientModel whose requests are answered as a whole."""

    def rows(self, inputs: InputColumns) -> KeyedRows:
        """Return a request as one row. Raises InvalidInput if it does not fit."""
        rows = super().rows(inputs)
        canonical = cast(Row, tuple(rows.canonical))
        key = self._request_key(canonical) if self.keeps_answers else object()
        return KeyedRows([tuple(rows.plain)], [canonical], [key])

    def answers(self, entries: Sequence[AnswerEntry], seconds: float) -> list[Answer]:
        (entry,) = entries
        return self.reader.answers(entry, seconds)

    def space(self, rows: Mapping[Hashable, MissingRow]) -> SharedAnswers:
        return self.namespace.for_rows([row.canonical for row in rows.values()])

    def shared_names(self, canonical: Sequence[Row]) -> list[bytes]:
        return [self.namespace.name(self._request_key(rows)) for rows in canonical]

    def request_body(self, plain: Sequence[PlainRow]) -> bytes:
        (rows,) = plain
        return super().request_body(rows)

    def _request_key(self, canonical: Row) -> bytes:
        rows = cast(Sequence[Row], canonical)
        return request_key(self._dictionary.keys(rows))
