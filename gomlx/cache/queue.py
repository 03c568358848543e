"""Entries that wait to be written: bounded in bytes, and dropped oldest first."""

from collections.abc import Callable, Collection
from math import inf
from typing import Generic, TypeVar

Ttl = TypeVar("Ttl", int, float)
Listener = Callable[[Collection[bytes]], None]

_ENTRY_BYTES = 250  # what Python takes for a short entry, besides its value


class ByteBoundedQueue(Generic[Ttl]):
    """Entries in the order in which they were added, each key once.

    entries: key → value and time to live, oldest first; for others to read only.
    For one thread: the event loop's.
    """

    __slots__ = ("_bytes", "_counts_keys", "_listeners", "_max_bytes", "entries")

    def __init__(self, max_bytes: int, counts_keys: bool = True) -> None:
        """counts_keys: the bytes of keys count, as long names should."""
        self.entries: dict[bytes, tuple[bytes, Ttl]] = {}
        self._max_bytes = max_bytes
        self._bytes = 0
        self._counts_keys = counts_keys
        self._listeners: list[Listener] = []

    def on_removed(self, listener: Listener) -> None:
        """Have a listener called with keys that leave, whether written or dropped."""
        self._listeners.append(listener)

    def find(self, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are queued."""
        entries = self.entries
        return {key: entries[key][0] for key in keys if key in entries}

    def add(self, key: bytes, value: bytes, ttl: Ttl) -> Collection[bytes]:
        """Append an entry, unless its key is queued; return the keys that it displaces.

        An entry larger than the queue displaces itself, too.
        """
        entries = self.entries
        if key in entries:
            return ()
        entries[key] = value, ttl
        size = self._bytes + _ENTRY_BYTES + len(value)
        if self._counts_keys:
            size += len(key)
        self._bytes = size
        return self._displace() if size > self._max_bytes else ()

    def first(
        self, max_bytes: int, max_entries: float = inf
    ) -> dict[bytes, tuple[bytes, Ttl]]:
        """Return the oldest entries: max_entries, or until they exceed max_bytes."""
        batch: dict[bytes, tuple[bytes, Ttl]] = {}
        size = 0
        for key, entry in self.entries.items():
            batch[key] = entry
            size += len(key) + len(entry[0])
            if len(batch) == max_entries or size > max_bytes:
                break
        return batch

    def discard(self, keys: Collection[bytes]) -> None:
        """Remove keys, and notify the listeners, also of those that are not queued."""
        size = self._bytes
        counts_keys = self._counts_keys
        for key in keys:
            if entry := self.entries.pop(key, None):
                size -= _ENTRY_BYTES + len(entry[0])
                if counts_keys:
                    size -= len(key)
        self._bytes = size
        for listener in self._listeners:
            listener(keys)

    def _displace(self) -> Collection[bytes]:
        excess = self._bytes - self._max_bytes
        oldest = []
        for key, (value, _) in self.entries.items():
            oldest.append(key)
            excess -= _ENTRY_BYTES + len(value)
            if self._counts_keys:
                excess -= len(key)
            if excess <= 0:
                break
        self.discard(oldest)
        return oldest
