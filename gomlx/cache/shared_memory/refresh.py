"""Entries of L1 that were found when they were old, to be written again."""

import threading

from gomlx.cache.shared_memory.entry import sealed

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

    def add(self, key: bytes, rest: bytes, checksum: int) -> None:
        """Append an entry unless its key is queued or the queue is full.

        rest: all of the entry behind its checksum, without padding.
        """
        with self._lock:
            if self._bytes < _MAX_BYTES and key not in self._entries:
                entry = sealed(rest, checksum)
                self._entries[key] = entry
                self._bytes += len(entry)

    def pop(self, max_entries: int, max_bytes: int) -> dict[bytes, bytes]:
        """Remove and return the first entries, as many as fit."""
        popped: dict[bytes, bytes] = {}
        with self._lock:
            for key, entry in self._entries.items():
                max_bytes -= len(entry)
                if max_bytes < 0 or len(popped) == max_entries:
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
