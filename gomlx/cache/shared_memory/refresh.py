"""Entries of L1 that were found in an old table, to be written to the young one."""

import threading
from collections.abc import Callable

_MOST_BYTES = 1 << 20


class Again:
    """What waits for the next write. Beyond a megabyte nothing is added.

    Look-ups add and writes take, in any thread. pages: what writing an entry may copy.
    """

    def __init__(self, pages: Callable[[bytes], int]) -> None:
        self._pages = pages
        self._entries: dict[bytes, bytes] = {}  # guarded by _lock, as is its size
        self._bytes = 0
        self._lock = threading.Lock()

    def __bool__(self) -> bool:
        return bool(self._entries)

    def add(self, key: bytes, entry: bytes) -> None:
        with self._lock:
            if self._bytes < _MOST_BYTES and key not in self._entries:
                self._entries[key] = entry
                self._bytes += len(entry)

    def take(self, room: int) -> dict[bytes, bytes]:
        """Take the first entries, as many as copy so many pages."""
        taken: dict[bytes, bytes] = {}
        with self._lock:
            for key, entry in self._entries.items():
                room -= self._pages(entry)
                if room < 0:
                    break
                taken[key] = entry
            for key, entry in taken.items():
                del self._entries[key]
                self._bytes -= len(entry)
        return taken

    def take_all(self) -> dict[bytes, bytes]:
        with self._lock:
            taken, self._entries, self._bytes = self._entries, {}, 0
        return taken

    def put_back(self, entries: dict[bytes, bytes]) -> None:
        """Have what was taken wait again, before the others."""
        with self._lock:
            self._entries = entries | self._entries
            self._bytes = sum(map(len, self._entries.values()))
