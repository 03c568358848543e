"""Entries of L1 that were found in an old table, to be written to the young one."""

import threading
from collections.abc import Callable

_MAX_BYTES = 1 << 20


class RefreshQueue:
    """Entries that wait for the next write. Beyond a megabyte, new ones are dropped.

    Look-ups add entries and writes remove them, in any thread.
    """

    def __init__(self) -> None:
        self._entries: dict[bytes, bytes] = {}  # guarded by _lock, as are its bytes
        self._bytes = 0
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, key: bytes, entry: bytes) -> None:
        """Append an entry unless its key is queued or the queue is full."""
        with self._lock:
            if self._bytes < _MAX_BYTES and key not in self._entries:
                self._entries[key] = entry
                self._bytes += len(entry)

    def pop(self, room: int, pages_of: Callable[[bytes], int]) -> dict[bytes, bytes]:
        """Remove and return the first entries, as many as copy `room` pages."""
        popped: dict[bytes, bytes] = {}
        with self._lock:
            for key, entry in self._entries.items():
                room -= pages_of(entry)
                if room < 0:
                    break
                popped[key] = entry
            for key, entry in popped.items():
                del self._entries[key]
                self._bytes -= len(entry)
        return popped

    def drain(self) -> dict[bytes, bytes]:
        """Remove and return all entries."""
        with self._lock:
            drained = self._entries
            self._entries = {}
            self._bytes = 0
        return drained

    def put_back(self, entries: dict[bytes, bytes]) -> None:
        """Queue entries that were popped again, before the others."""
        with self._lock:
            self._entries = entries | self._entries
            self._bytes = sum(map(len, self._entries.values()))
