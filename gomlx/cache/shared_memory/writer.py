"""Writes entries to a store, in transactions that leave it within its pages."""

import time
from collections.abc import Iterator, Mapping

import lmdb

from gomlx.cache.shared_memory.budget import PageBudget
from gomlx.cache.shared_memory.eviction import Evictor
from gomlx.cache.shared_memory.store import PARTS
from gomlx.cache.shared_memory.tables import Tables

_READER_MILLISECONDS = 200  # for a look-up to end; a hundred keys take 0.2


class Writer:
    """For the process that holds the writer lock, and for one thread at a time."""

    def __init__(
        self, environment: lmdb.Environment, tables: Tables, budget: PageBudget
    ) -> None:
        self._environment = environment
        self._tables = tables
        self._budget = budget
        self._evictor = Evictor(environment, tables, budget)

    def write(self, entries: Mapping[bytes, bytes], max_pages: int) -> None:
        """Write to the young tables, and evict at most max_pages.

        Raises MapFullError when there is no room for the pages that this copies.
        """
        with self._environment.begin(write=True) as transaction:
            next_part = self._tables.read_state(transaction)
            parts: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTS)]
            for key, entry in entries.items():
                parts[key[0] % PARTS].append((key, entry))
            for (young, _), part in zip(self._tables.young_old, parts, strict=True):
                if part:
                    transaction.cursor(young).putmulti(part)
            self._evictor.evict(transaction, next_part, max_pages)

    def write_all(self, entries: Mapping[bytes, bytes]) -> None:
        """Write, whatever has to be evicted; blocks while readers hold pages.

        Raises MapFullError when a reader that stands still holds too many.
        """
        for batch in self._budget.batches(entries):
            self._write_with_room(batch)

    def _write_with_room(self, entries: Mapping[bytes, bytes]) -> None:
        for attempt in range(4 * PARTS):
            try:
                if attempt > 1:  # evicting gains no pages that readers hold
                    self._evictor.make_room(sum(map(len, entries.values())))
                self.write(entries, self._budget.write)
                return
            except lmdb.MapFullError:
                self._wait_for_readers()
        self.write(entries, self._budget.write)

    def _wait_for_readers(self) -> None:
        """Wait for the end of look-ups that began before the last write.

        Raises MapFullError if one does not end.
        """
        self._environment.reader_check()  # dead processes hold pages as well
        last = self._environment.info()["last_txnid"]
        for _ in range(_READER_MILLISECONDS):
            if all(begun >= last for begun in self._readers()):
                return
            time.sleep(0.001)
        raise lmdb.MapFullError("a reader that stands still holds the free pages")

    def _readers(self) -> Iterator[int]:
        """Yield the transactions that readers see; LMDB prints them as a table."""
        for line in self._environment.readers().splitlines()[1:]:
            begun = line.split()[-1]
            if begun.isdecimal():
                yield int(begun)
