"""The answers that a client keeps in memory, bounded in number, bytes and age."""

from collections.abc import Callable, Hashable
from functools import partial
from sys import getsizeof
from time import perf_counter
from typing import Any, NamedTuple

from cachebox import LRUCache

from gomlx.client.answer import AnswerEntry, AnswerOrigin
from gomlx.client.metrics import LOCAL


class Lifetimes(NamedTuple):
    """How long entries are kept, in seconds; 0 or less: not at all."""

    answer: float
    error: float


class KeptLimits(NamedTuple):
    """How many entries are kept, and about how many bytes they may take."""

    max_entries: int
    max_bytes: int


class KeptAnswers:
    """The entries of one version; the least recently used makes room for a new one.

    Any thread may call any method. get returns the entry of a key, or None; it does not
    look at the clock.
    """

    get: Callable[[Hashable], AnswerEntry | None]

    def __init__(
        self,
        version: str,
        lifetimes: Lifetimes,
        limits: KeptLimits,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        self._origin = AnswerOrigin(version, LOCAL, True)
        self._lifetimes = lifetimes
        self._clock = clock
        self._max_bytes = limits.max_bytes
        least = max(limits.max_bytes // limits.max_entries, 1)
        # No bound method: it would hold this object while another one has the entries.
        self._weight = partial(_weight, least)
        self._entries: LRUCache[Hashable, AnswerEntry] = LRUCache(
            limits.max_bytes, getsizeof=self._weight
        )
        self.get = self._entries.get

    def adopt(self, older: "KeptAnswers") -> bool:
        """Share the entries of the same version under older settings.

        Returns False and changes nothing if answers live shorter now: entries that are
        already there would live too long.
        """
        if self._lifetimes.answer < older._lifetimes.answer:
            return False
        self._entries = older._entries
        self.get = older.get
        return True

    def store(self, key: Hashable, fetched: AnswerEntry) -> AnswerEntry | None:
        """Keep a fetched entry for its lifetime; return the kept one, None if not."""
        failed = fetched.error is not None
        seconds = self._lifetimes.error if failed else self._lifetimes.answer
        if seconds <= 0:
            return None
        expires_at = self._clock() + seconds
        entry = AnswerEntry(
            fetched.text, fetched.values, self._origin, expires_at, fetched.error
        )
        self.insert(key, entry)
        return entry

    def insert(self, key: Hashable, entry: AnswerEntry) -> None:
        """Keep an entry under one more key, unless it is larger than all may be.

        Raises TypeError for a key that has no hash.
        """
        if self._weight(key, entry) <= self._max_bytes:
            self._entries.insert(key, entry)

    def size(self) -> tuple[int, int]:
        """Return the number of entries, and about how many bytes they take."""
        return len(self._entries), self._entries.current_size()


def _weight(least: int, key: Hashable, entry: AnswerEntry) -> int:
    """Return an entry's bytes, but at least its share, so that one bound does for both.

    least: max_bytes divided by max_entries.
    """
    return max(entry.size_bytes + _key_bytes(key), least)


def _key_bytes(key: Any) -> int:
    if isinstance(key, tuple):
        return getsizeof(key) + sum(map(getsizeof, key))
    return getsizeof(key)
