"""L1: shared memory that all processes of a host read and write, over LMDB.

The space is bounded by dropping tables. Keys fall into eight parts, and each part has a
young and an old table. Entries go to the young one. When the pages are taken, one part
after another rotates: its old table is dropped whole, and the two change roles. What is
asked for while it is in an old table is written to the young one again, so hot entries
live on. Parts rotate at different times, so that the store is nearly full at any moment
and yet a look-up needs two tables at most.

Readers look into both tables: an entry is right wherever it is found, because its key
names the version and the whole question.

Safe: any number of processes, and the death of any of them at any moment (LMDB's
pages are copied on write, its locks are robust). Not safe: opening it before a fork,
or twice in one process.
"""

import os
import struct
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb

from gomlx.cache.shared_memory import store
from gomlx.cache.shared_memory.refresh import Again
from gomlx.cache.shared_memory.store import (
    CHECKSUM_BYTES,
    EXPIRY_BYTES,
    META,
    PARTS,
    TABLES,
)
from gomlx.errors import TooLarge

_EXPIRY = struct.Struct("<d")
# Of the pages, what the tables may take. The rest is for pages that a transaction
# copies, for those that it freed, and for those that readers still hold.
_TABLES_SHARE = 0.92
# Of the pages of the tables, what the young ones take when each is ahead of the next by
# an eighth of an old one: 1/8 + 2/8 + … + 8/8 = 4.5 old ones, beside 8 old ones.
_YOUNG_SHARE = (PARTS + 1) / (3 * PARTS + 1)
_WRITE_SHARE, _MOST_PAGES = 1 / 64, 200  # of the pages, that one write adds or frees
_FEW_PAGES = 100  # the same, of a write that the event loop waits for
_SLICE_PAGES = 4  # to free between two looks at how many are left
_LARGEST_SHARE = 0.35  # of the store, that one answer may take
_NEAR_ENTRIES, _NEAR_BYTES = 4096, 1024  # at hand, and of each
_READER_MILLISECONDS = 200  # for a look-up to end; a hundred keys take 0.2


class SharedMemory:
    """A tier over one store that `create_store` has made."""

    name = "L1"

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._environment, self._users = store.open_store(directory)
        self._writer = store.WriterLock(directory)
        self._size = self._environment.info()["map_size"]
        self._environment.reader_check()  # forget the readers that were killed
        self._meta = self._environment.open_db(META, create=False)
        self._pairs = [
            tuple(self._environment.open_db(name, create=False) for name in pair)
            for pair in TABLES
        ]
        self._clock = clock
        self._page_bytes = self._environment.stat()["psize"]
        pages = self._size // self._page_bytes
        self._max_pages = int(pages * _TABLES_SHARE)
        self._pages_a_write = max(2, min(int(pages * _WRITE_SHARE), _MOST_PAGES))
        self._few_pages = min(self._pages_a_write, _FEW_PAGES)
        self._young_old = self._pairs  # of each part: young, old; replaced as one
        self._looked = 0.0  # when _young_old was read; 0: too long ago
        self._near: dict[bytes, tuple[float, bytes]] = {}  # key → expiry, answer
        self._again = Again(self._touched)

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are known; never waits for a writer.

        PERF: what was found in the last second is kept at hand. To walk LMDB's pages
        costs a tenth of a hit, and more while a model drives them out of the caches.
        """
        now, near = self._clock(), self._near
        if not self._looked <= now <= self._looked + 1:
            near.clear()
            self._looked = 0.0
        found, far = {}, []
        for key in keys:
            known = near.get(key)
            if known is not None and known[0] > now:
                found[key] = known[1]
            else:
                far.append(key)
        return found | self._look_up(far, now) if far else found

    def _look_up(self, keys: Sequence[bytes], now: float) -> dict[bytes, bytes]:
        found = {}
        with self._environment.begin() as transaction:
            # Who only reads must learn of rotations too.
            if not self._looked:
                self._looked = now
                self._look(transaction)
            young_old = self._young_old
            for key in keys:
                young, old = young_old[key[0] % PARTS]
                entry = transaction.get(key, db=young)
                if entry is None:
                    entry = transaction.get(key, db=old)
                    if entry is None:
                        continue
                    if _EXPIRY.unpack_from(entry)[0] > now:
                        self._again.add(key, entry)
                expiry = _EXPIRY.unpack_from(entry)[0]
                if expiry > now:
                    found[key] = answer = entry[EXPIRY_BYTES:-CHECKSUM_BYTES]
                    if len(entry) < _NEAR_BYTES and len(self._near) < _NEAR_ENTRIES:
                        self._near[key] = expiry, answer
        return found

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Write answers with their seconds to live; again those found in an old table.

        Blocks while another process writes: call it in a thread. Raises TooLarge,
        after writing the others, for answers that would push out most of the rest.
        """
        now = self._clock()
        entries = self._again.take_all() | {
            key: _entry(key, now + seconds, value)
            for key, (value, seconds) in items.items()
        }
        largest = int(self._size * _LARGEST_SHARE)
        fitting = {k: entry for k, entry in entries.items() if len(entry) <= largest}
        self._writer.take()
        try:
            for part in self._transactions(fitting):
                self._write_with_room(part)
        finally:
            self._writer.release()
        if len(fitting) < len(entries):
            raise TooLarge(f"an answer of over {largest} bytes; raise memory_mb")

    def set_some(
        self, items: Mapping[bytes, tuple[bytes, float]]
    ) -> Collection[bytes] | None:
        """Write the first of `items`, as many as take a moment; wait for nobody.

        Return their keys: none while another process writes. None when somebody has
        to wait for room: `set_many` does. Not while another thread writes.
        """
        if not self._writer.take_now():
            return ()
        again = self._again.take(self._few_pages // 2)
        room = self._few_pages - sum(map(self._touched, again.values()))
        try:
            new = self._first(items, room)
            # When the first one is too large, it is for the thread.
            if new if items else again or not self._again:
                self._write(again | new, self._few_pages)
                return new.keys()
        except lmdb.MapFullError:
            pass
        finally:
            self._writer.release()
        self._again.put_back(again)
        return None

    def close(self) -> None:
        self._writer.close()
        self._environment.close()
        self._users.close()

    def _first(
        self, items: Mapping[bytes, tuple[bytes, float]], room: int
    ) -> dict[bytes, bytes]:
        """Return the entries of the first items, as many as copy so many pages."""
        now, entries = self._clock(), dict[bytes, bytes]()
        for key, (value, seconds) in items.items():
            entry = _entry(key, now + seconds, value)
            room -= self._touched(entry)
            if room < 0:
                break
            entries[key] = entry
        return entries

    def _touched(self, entry: bytes) -> int:
        """The pages that writing an entry may copy."""
        return 1 + len(entry) // self._page_bytes

    def _transactions(
        self, entries: Mapping[bytes, bytes]
    ) -> Iterator[dict[bytes, bytes]]:
        """Cut entries into writes that leave room for the pages they copy."""
        part: dict[bytes, bytes] = {}
        taken = 0
        for key, entry in entries.items():
            touched = self._touched(entry)
            if part and taken + touched > self._pages_a_write:
                yield part
                part, taken = {}, 0
            part[key] = entry
            taken += touched
        if part:
            yield part

    def _write_with_room(self, entries: Mapping[bytes, bytes]) -> None:
        """Raise MapFullError when a reader that stands still holds too many pages."""
        for attempt in range(4 * PARTS):
            try:
                if attempt > 1:  # pages that readers hold are not gained by evicting
                    self._make_room(sum(map(len, entries.values())))
                self._write(entries, self._pages_a_write)
                return
            except lmdb.MapFullError:
                self._wait_for_readers()
        self._write(entries, self._pages_a_write)

    def _wait_for_readers(self) -> None:
        """Wait for the end of look-ups that began before the last write.

        Raises MapFullError if one does not end.
        """
        self._environment.reader_check()  # the dead hold pages as well
        last = self._environment.info()["last_txnid"]
        for _ in range(_READER_MILLISECONDS):
            if all(begun >= last for begun in self._readers()):
                return
            time.sleep(0.001)
        raise lmdb.MapFullError("a reader that stands still holds the free pages")

    def _readers(self) -> Iterator[int]:
        """The transactions that readers see: LMDB tells in a table, as text."""
        for line in self._environment.readers().splitlines()[1:]:
            begun = line.split()[-1]
            if begun.isdecimal():
                yield int(begun)

    def _write(self, entries: Mapping[bytes, bytes], most: int) -> None:
        """Write, and evict so many pages at most."""
        with self._environment.begin(write=True) as transaction:
            hand = self._look(transaction)
            parts: list[list[tuple[bytes, bytes]]] = [[] for _ in range(PARTS)]
            for key, entry in entries.items():
                parts[key[0] % PARTS].append((key, entry))
            for (young, _), part in zip(self._young_old, parts, strict=True):
                if part:
                    transaction.cursor(young).putmulti(part)
            self._evict(transaction, hand, most)

    def _evict(self, transaction: lmdb.Transaction, hand: int, most: int) -> None:
        pages = [[_pages(transaction, one) for one in two] for two in self._young_old]
        young, old = map(sum, zip(*pages, strict=True))
        freed = 0
        while young > self._max_pages * _YOUNG_SHARE or young + old > self._max_pages:
            if pages[hand][1]:
                gone = self._shrink(transaction, hand, most - freed)
                freed, old = freed + gone, old - gone
                pages[hand][1] -= gone
            if pages[hand][1]:
                break  # the next write goes on
            young, old = young - pages[hand][0], old + pages[hand][0]
            pages[hand].reverse()
            hand = self._rotate(transaction, hand)

    def _shrink(self, transaction: lmdb.Transaction, part: int, most: int) -> int:
        """Delete from a part's old table; return how many pages that freed.

        Not all at once: LMDB writes down what a transaction has freed, and in a full
        store it finds no room for a list that is longer than a page.
        """
        table = self._young_old[part][1]
        before = left = _pages(transaction, table)
        with transaction.cursor(table) as cursor:
            cursor.first()
            while left and before - left < most:
                entries = transaction.stat(table)["entries"]
                for _ in range(max(1, entries * _SLICE_PAGES // left)):
                    cursor.delete()
                left = _pages(transaction, table)
        return before - left

    def _make_room(self, size: int) -> None:
        freed = 0
        for _ in range(2 * PARTS):
            with self._environment.begin(write=True) as transaction:
                hand = self._look(transaction)
                freed += self._shrink(transaction, hand, self._pages_a_write)
                if not _pages(transaction, self._young_old[hand][1]):
                    self._rotate(transaction, hand)
            if freed * self._page_bytes > size:
                break
        # LMDB uses the pages that a transaction freed from the next but one on.
        with self._environment.begin(write=True) as transaction:
            transaction.put(b"nudge", os.urandom(8), db=self._meta)

    def _rotate(self, transaction: lmdb.Transaction, part: int) -> int:
        """Have a part's empty old table be its young one, and the other way round.

        Return the part that is to rotate next.
        """
        state = bytearray(self._state(transaction))
        state[part] ^= 1
        state[PARTS] = (part + 1) % PARTS
        transaction.put(b"state", bytes(state), db=self._meta)
        return self._look(transaction)

    def _look(self, transaction: lmdb.Transaction) -> int:
        """Learn which tables are young: another process may have rotated.

        Return the part that is to rotate next.
        """
        state = self._state(transaction)
        self._young_old = [
            (b, a) if is_b else (a, b)
            for (a, b), is_b in zip(self._pairs, state, strict=False)
        ]
        return state[PARTS]

    def _state(self, transaction: lmdb.Transaction) -> bytes:
        return bytes(transaction.get(b"state", b"", self._meta))


def _entry(key: bytes, expiry: float, value: bytes) -> bytes:
    rest = _EXPIRY.pack(expiry) + value
    return rest + store.checksum(key, rest)


def _pages(transaction: lmdb.Transaction, table: Any) -> int:
    used = transaction.stat(table)
    return int(used["leaf_pages"] + used["branch_pages"] + used["overflow_pages"])
