"""Keeps the tables of a store within their pages: shrinks old ones, rotates parts."""

import lmdb

from gomlx.cache.shared_memory.budget import PageBudget
from gomlx.cache.shared_memory.store import PARTS
from gomlx.cache.shared_memory.tables import Tables, pages_of

_SLICE_PAGES = 4  # to free between two looks at how many remain


class Evictor:
    """For the process that writes."""

    def __init__(
        self, environment: lmdb.Environment, tables: Tables, budget: PageBudget
    ) -> None:
        self._environment = environment
        self._tables = tables
        self._budget = budget

    def evict(self, transaction: lmdb.Transaction, part: int, max_pages: int) -> None:
        """Shrink and rotate from a part on, until the tables are within their budget.

        Frees at most max_pages; the next write continues.
        """
        budget = self._budget
        pages = [
            [pages_of(transaction, table) for table in pair]
            for pair in self._tables.young_old
        ]
        young, old = map(sum, zip(*pages, strict=True))
        freed = 0
        while young > budget.young_tables or young + old > budget.tables:
            if pages[part][1]:
                shrunk = self._shrink(transaction, part, max_pages - freed)
                freed += shrunk
                old -= shrunk
                pages[part][1] -= shrunk
            if pages[part][1]:
                break
            young -= pages[part][0]
            old += pages[part][0]
            pages[part].reverse()
            part = self._tables.rotate(transaction, part)

    def make_room(self, size_bytes: int) -> None:
        """Free so many bytes, whatever the tables take."""
        freed = 0
        for _ in range(2 * PARTS):
            with self._environment.begin(write=True) as transaction:
                part = self._tables.read_state(transaction)
                freed += self._shrink(transaction, part, self._budget.write)
                if not pages_of(transaction, self._tables.young_old[part][1]):
                    self._tables.rotate(transaction, part)
            if freed * self._budget.page_bytes > size_bytes:
                break
        # LMDB uses the pages that a transaction freed from the next but one on.
        with self._environment.begin(write=True) as transaction:
            self._tables.touch(transaction)

    def _shrink(self, transaction: lmdb.Transaction, part: int, max_pages: int) -> int:
        """Delete from a part's old table; return how many pages that freed.

        Not all at once: LMDB lists what a transaction has freed, and in a full store it
        finds no room for a list that is longer than a page.
        """
        table = self._tables.young_old[part][1]
        before = pages_of(transaction, table)
        remaining = before
        with transaction.cursor(table) as cursor:
            cursor.first()
            while remaining and before - remaining < max_pages:
                entries = transaction.stat(table)["entries"]
                for _ in range(max(1, entries * _SLICE_PAGES // remaining)):
                    cursor.delete()
                remaining = pages_of(transaction, table)
        return before - remaining
