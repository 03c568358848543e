"""L1: shared memory that all processes of a host read and write, over LMDB.

The space is bounded by dropping tables. Keys fall into eight parts, and each part has a
young and an old table. Entries go to the young one. When the pages are used up, one
part after another rotates: its old table is emptied, and the two change roles. An entry
that is looked up while it is in an old table is written to the young one again, so hot
entries live on. Parts rotate at different times, so that the store is nearly full at
any moment and yet a look-up needs two tables at most.

Readers look into both tables: an entry is right wherever it is found, because its key
names the version and the whole row.

Safe: any number of processes, and the death of any of them at any moment (LMDB's
pages are copied on write, its locks are robust). Not safe: opening it before a fork,
or twice in one process.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import lmdb

from gomlx.cache.shared_memory import store
from gomlx.cache.shared_memory.budget import PageBudget
from gomlx.cache.shared_memory.entry import (
    CHECKSUM_BYTES,
    EXPIRY,
    EXPIRY_BYTES,
    encode,
)
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.lock import WriterLock
from gomlx.cache.shared_memory.refresh import RefreshQueue
from gomlx.cache.shared_memory.store import PARTS
from gomlx.cache.shared_memory.tables import Tables
from gomlx.cache.shared_memory.writer import Writer
from gomlx.errors import TooLarge


class SharedMemory:
    """A tier over one store that `create_store` has made."""

    name = "L1"

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], float] = time.time,
        l0: InProcessCache | None = None,
        refresh: RefreshQueue | None = None,
    ) -> None:
        self._environment, self._users = store.open_store(directory)
        self._environment.reader_check()  # forget the readers that were killed
        self._lock = WriterLock(directory)
        self._clock = clock
        self._l0 = InProcessCache() if l0 is None else l0
        self._refresh = RefreshQueue() if refresh is None else refresh
        self._tables = Tables(self._environment)
        self._budget = PageBudget.of(self._environment)
        self._writer = Writer(self._environment, self._tables, self._budget)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are cached; never waits for a writer."""
        now = self._clock()
        l0 = self._l0
        if not l0.began <= now <= l0.ends:
            l0.reset()
        answers = l0.answers
        found = {}
        rest = []
        for key in keys:
            cached = answers.get(key)
            if cached is not None and cached[0] > now:
                found[key] = cached[1]
            else:
                rest.append(key)
        return found | self._look_up(rest, now) if rest else found

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Write answers, each with its seconds to live, and the refresh queue.

        Blocks while another process writes: call it in a thread. Raises TooLarge,
        after writing the others, for answers that would push out most of the rest.
        """
        now = self._clock()
        entries = self._refresh.drain() | {
            key: encode(key, now + seconds, value)
            for key, (value, seconds) in items.items()
        }
        largest = self._budget.max_entry_bytes
        fitting = {k: entry for k, entry in entries.items() if len(entry) <= largest}
        self._lock.acquire()
        try:
            self._writer.write_all(fitting)
        finally:
            self._lock.release()
        if len(fitting) < len(entries):
            raise TooLarge(f"an answer of over {largest} bytes; raise memory_mb")

    def set_some(
        self, items: Mapping[bytes, tuple[bytes, float]]
    ) -> Collection[bytes] | None:
        """Write the first of `items`, as many as take a moment; never blocks.

        Return their keys: none while another process writes. None when this has to wait
        for room: `set_many` does. Not while another thread writes.
        """
        if not self._lock.try_acquire():
            return ()
        try:
            return self._write_some(items)
        finally:
            self._lock.release()

    def close(self) -> None:
        """Close the store; nothing may be called afterwards."""
        self._lock.close()
        self._environment.close()
        self._users.close()

    def _look_up(self, keys: Sequence[bytes], now: float) -> dict[bytes, bytes]:
        found = {}
        l0 = self._l0
        answers = l0.answers
        unpack_expiry = EXPIRY.unpack_from
        with self._environment.begin() as transaction:
            if not l0.began:
                l0.begin(now)
                # A process that only reads must learn of rotations too.
                self._tables.read_state(transaction)
            young_old = self._tables.young_old
            for key in keys:
                young, old = young_old[key[0] % PARTS]
                entry = transaction.get(key, db=young)
                if entry is None:
                    entry = transaction.get(key, db=old)
                    if entry is None:
                        continue
                    if unpack_expiry(entry)[0] > now:
                        self._refresh.add(key, entry)
                expiry = unpack_expiry(entry)[0]
                if expiry > now:
                    found[key] = answer = entry[EXPIRY_BYTES:-CHECKSUM_BYTES]
                    if (
                        len(entry) < l0.max_entry_bytes
                        and len(answers) < l0.max_entries
                    ):
                        answers[key] = expiry, answer
        return found

    def _write_some(
        self, items: Mapping[bytes, tuple[bytes, float]]
    ) -> Collection[bytes] | None:
        budget = self._budget
        refreshed = self._refresh.pop(budget.short_write // 2, budget.pages_of)
        room = budget.short_write - sum(map(budget.pages_of, refreshed.values()))
        new = self._first(items, room)
        # When the first one of either is too large, it is for the thread.
        if new if items else refreshed or not self._refresh:
            try:
                self._writer.write(refreshed | new, budget.short_write)
                return new.keys()
            except lmdb.MapFullError:
                pass
        self._refresh.put_back(refreshed)
        return None

    def _first(
        self, items: Mapping[bytes, tuple[bytes, float]], room: int
    ) -> dict[bytes, bytes]:
        """Return the entries of the first items, as many as copy `room` pages."""
        now = self._clock()
        page_bytes = self._budget.page_bytes
        entries: dict[bytes, bytes] = {}
        for key, (value, seconds) in items.items():
            entry = encode(key, now + seconds, value)
            room -= 1 + len(entry) // page_bytes  # PERF: pages_of, without its call
            if room < 0:
                break
            entries[key] = entry
        return entries
