"""Rows that were checked against a model, and the keys that their answers have."""

from collections.abc import Container, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

from gomlx.contract.tensor import Row

PlainRow = tuple[Any, ...]  # as it came and as it is sent, in the signature's order


class MissingRow(NamedTuple):
    """A row whose answer is not known locally."""

    plain: PlainRow
    canonical: Row


@dataclass(frozen=True)
class KeyedRows:
    """Checked rows: plain, canonical, and the key that each is kept under locally."""

    plain: list[PlainRow]
    canonical: list[Row]
    keys: list[Hashable]

    def without(self, known: Container[Hashable]) -> dict[Hashable, MissingRow]:
        """Return the rows whose keys are not known, by key; equal ones are one."""
        triples = zip(self.keys, self.plain, self.canonical, strict=True)
        return {
            key: MissingRow(plain, canonical)
            for key, plain, canonical in triples
            if key not in known
        }
