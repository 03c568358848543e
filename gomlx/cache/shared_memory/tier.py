"""L1: shared memory that all processes of a host read and write, a ring.

The space is bounded because entries are written over the oldest ones. An entry that is
found when it is old is written again, so hot entries live on (appender.py says where
entries go). An entry is right wherever it is found, because its key names the version
and the whole row.

A store may be removed, replaced or truncated while it is in use. Once a second, before
a write, a process looks at its files, leaves a store that is gone and opens the one
that has taken its place. Until there is one it does without.

Safe: any number of processes, and the death of any of them at any moment. Not safe:
opening it before a fork; a truncation is a SIGBUS for who reads before it looks.
"""

import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from time import monotonic

from gomlx.cache.shared_memory.appender import Appender
from gomlx.cache.shared_memory.entry import encode
from gomlx.cache.shared_memory.finder import Finder, NoFinder
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.refresh import RefreshQueue
from gomlx.cache.shared_memory.ring import Usage
from gomlx.cache.shared_memory.store import OpenStore, open_store
from gomlx.errors import StoreUnavailable, TooLarge
from gomlx.metrics.instruments import Counter

# What the event loop writes at once: half a millisecond.
_MAX_SHORT_ENTRIES = 256
_MAX_SHORT_BYTES = 256 << 10
_LOOK_SECONDS = 1.0


class SharedMemory:
    """A tier over one store that `create_store` has made.

    problem: why there is no store now, or empty. While there is none, look-ups and
    writes raise StoreUnavailable. damaged counts entries whose bytes have changed.
    """

    name = "L1"

    def __init__(
        self,
        directory: Path,
        clock: Callable[[], float] = time.time,
        l0: InProcessCache | None = None,
        refresh: RefreshQueue | None = None,
        damaged: Counter | None = None,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._refresh = RefreshQueue() if refresh is None else refresh
        self._l0 = InProcessCache() if l0 is None else l0
        self._damaged = damaged
        self._look_at = 0.0
        self._store: OpenStore | None = None
        self.problem = ""
        self._open()

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Write answers, each with its seconds to live, and the refresh queue.

        Blocks while another process writes: call it in a thread. Raises TooLarge,
        after writing the others, for answers that would push out most of the rest.
        """
        store = self._opened()
        now = self._clock()
        entries = self._refresh.drain() | {
            key: encode(key, now + seconds, value)
            for key, (value, seconds) in items.items()
        }
        largest = self._appender.max_entry_bytes
        fitting = {k: entry for k, entry in entries.items() if len(entry) <= largest}
        store.lock.acquire()
        try:
            self._appender.append(fitting)
        finally:
            store.lock.release()
        if len(fitting) < len(entries):
            raise TooLarge(f"an answer of over {largest} bytes; raise memory_mb")

    def set_some(
        self, items: Mapping[bytes, tuple[bytes, float]]
    ) -> Collection[bytes] | None:
        """Write the first of `items`, as many as take a moment; never blocks.

        Return their keys: none while another process writes. None when the first is so
        large that it takes longer: `set_many` does. Not while another thread writes.
        """
        if (now := monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self.look()
        store = self._opened()
        if not store.lock.try_acquire():
            return ()
        try:
            return self._write_some(items)
        finally:
            store.lock.release()

    def look(self) -> None:
        """Leave a store that is gone, and open the one that has taken its place.

        Not while another thread writes.
        """
        if self._store and (flaw := self._store.flaw(self._directory)):
            self._store.close()
            self._do_without(f"{self._directory}: {flaw}")
        if self._store is None:
            self._open()

    def usage(self) -> Usage | None:
        """Return how much is in use, if there is a store."""
        return self._store.ring.usage() if self._store else None

    def overwritten_bytes(self) -> int:
        """Return that part of the usage, at no cost."""
        return self._store.ring.overwritten_bytes() if self._store else 0

    def close(self) -> None:
        """Close the store; nothing may be called afterwards."""
        if self._store:
            self._store.close()

    def _open(self) -> None:
        try:
            store = open_store(self._directory)
        except StoreUnavailable as error:
            self._do_without(str(error))
            return
        self.problem = ""
        self._store = store
        self._appender = Appender(store.ring)
        finder = Finder(store.ring, self._refresh, self._l0, self._clock, self._damaged)
        # The answers that are cached; it never waits. PERF: no method between.
        self.get_many = finder.get_many

    def _do_without(self, problem: str) -> None:
        self.problem = problem
        self._store = None
        self.get_many = NoFinder(problem).get_many

    def _opened(self) -> OpenStore:
        if self._store is None:
            raise StoreUnavailable(self.problem)
        return self._store

    def _write_some(
        self, items: Mapping[bytes, tuple[bytes, float]]
    ) -> Collection[bytes] | None:
        new = self._first(items)
        refreshed = self._refresh.pop(_MAX_SHORT_ENTRIES // 2, _MAX_SHORT_BYTES)
        self._appender.append(refreshed | new)
        # The first one of either may be too large: it is for the thread.
        is_stuck = not new if items else not refreshed and bool(self._refresh)
        return None if is_stuck else new.keys()

    def _first(self, items: Mapping[bytes, tuple[bytes, float]]) -> dict[bytes, bytes]:
        """Return the entries of the first items, as many as take a moment to write."""
        now = self._clock()
        room = min(_MAX_SHORT_BYTES, self._appender.max_entry_bytes)
        entries: dict[bytes, bytes] = {}
        for key, (value, seconds) in items.items():
            entry = encode(key, now + seconds, value)
            room -= len(entry)
            if room < 0 or len(entries) == _MAX_SHORT_ENTRIES:
                break
            entries[key] = entry
        return entries
