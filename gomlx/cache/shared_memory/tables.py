"""The tables of an open store, and which of each part's two is young."""

import os
from typing import Any

import lmdb

from gomlx.cache.shared_memory.store import META, PARTS, TABLES

LmdbTable = Any  # a handle of lmdb's
_STATE = b"state"


class Tables:
    """young_old has two tables a part; it is replaced as one when a part rotates."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._meta: LmdbTable = environment.open_db(META, create=False)
        self._pairs: list[tuple[LmdbTable, LmdbTable]] = [
            (
                environment.open_db(first, create=False),
                environment.open_db(second, create=False),
            )
            for first, second in TABLES
        ]
        self.young_old = self._pairs

    def read_state(self, transaction: lmdb.Transaction) -> int:
        """Read which tables are young: another process may have rotated a part.

        Return the part that is to rotate next.
        """
        state = self._state(transaction)
        self.young_old = [
            (second, first) if is_second else (first, second)
            for (first, second), is_second in zip(self._pairs, state, strict=False)
        ]
        return state[PARTS]

    def rotate(self, transaction: lmdb.Transaction, part: int) -> int:
        """Make a part's empty old table its young one, and the other way round.

        Return the part that is to rotate next.
        """
        state = bytearray(self._state(transaction))
        state[part] ^= 1
        state[PARTS] = (part + 1) % PARTS
        transaction.put(_STATE, bytes(state), db=self._meta)
        return self.read_state(transaction)

    def touch(self, transaction: lmdb.Transaction) -> None:
        """Change a page, so that the transaction counts as a write."""
        transaction.put(b"nudge", os.urandom(8), db=self._meta)

    def _state(self, transaction: lmdb.Transaction) -> bytes:
        return bytes(transaction.get(_STATE, b"", self._meta))


def pages_of(transaction: lmdb.Transaction, table: LmdbTable) -> int:
    """Return how many pages a table takes."""
    used = transaction.stat(table)
    return int(used["leaf_pages"] + used["branch_pages"] + used["overflow_pages"])
