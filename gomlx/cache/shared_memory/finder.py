"""Finds entries in a ring, and trusts none of its bytes.

Readers take no lock. What they read may be half overwritten, left by a writer that
died, or damaged: it is an entry if the key in it is the one that is looked up, its CRC
is right, and its log's head says afterwards that no writer had come as far. The last
is exact where stores and loads are seen in order (x86-64), since a writer moves the
head before it writes (appender.py); elsewhere (arm64) the CRC decides alone, and may
take what is being overwritten for damaged.
"""

from collections.abc import Callable, Sequence
from zlib import crc32

from gomlx.cache.shared_memory.entry import CHECKSUM_BYTES, HEAD, HEAD_BYTES
from gomlx.cache.shared_memory.geometry import (
    BUCKET_BYTES,
    HEADER_BYTES,
    UNIT_BYTES,
    Log,
)
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.index import KEPT_BYTES
from gomlx.cache.shared_memory.refresh import RefreshQueue
from gomlx.cache.shared_memory.ring import Ring
from gomlx.errors import StoreUnavailable
from gomlx.metrics.instruments import Counter

Found = tuple[float, bytes]  # expiry and answer
_unpack_head = HEAD.unpack_from


class Finder:
    """Looks up keys in L0, and then in both logs; L0 learns what is found.

    damaged counts entries whose bytes have changed.
    """

    def __init__(
        self,
        ring: Ring,
        refresh: RefreshQueue,
        l0: InProcessCache,
        clock: Callable[[], float],
        damaged: Counter | None = None,
    ) -> None:
        damaged = Counter() if damaged is None else damaged
        self._memory = ring.memory
        self._buckets = ring.geometry.buckets
        self._kept = _LogReader(ring, ring.geometry.kept, refresh, damaged)
        self._new = _LogReader(ring, ring.geometry.new, refresh, damaged)
        self._l0 = l0
        self._clock = clock

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are cached and have not expired."""
        now = self._clock()
        l0 = self._l0
        if not l0.began <= now <= l0.ends:
            l0.restart(now)
        answers = l0.answers
        memory = self._memory
        buckets = self._buckets
        number = int.from_bytes
        found = {}
        for key in keys:
            cached = answers.get(key)
            if cached is not None and cached[0] > now:
                found[key] = cached[1]
                continue
            # PERF: in line, a call would cost a miss a fifth (loadtests.l1.costs).
            at = HEADER_BYTES + number(key[:5], "little") % buckets * BUCKET_BYTES
            bucket = memory[at : at + BUCKET_BYTES]
            tag = key[5:8]
            i = bucket.find(tag)
            while i >= 0:
                if not i & 7:
                    log = self._kept if i < KEPT_BYTES else self._new
                    position = number(bucket[i + 3 : i + 8], "little")
                    entry = log.read(key, position, now)
                    if entry is not None:
                        found[key] = entry[1]
                        if len(entry[1]) < l0.max_entry_bytes and l0.has_room:
                            answers[key] = entry
                        break
                i = bucket.find(tag, i + 1)
        return found


class NoFinder:
    """Takes the place of a Finder while there is no ring."""

    def __init__(self, problem: str) -> None:
        self._problem = problem

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Raise StoreUnavailable."""
        raise StoreUnavailable(self._problem)


class _LogReader:
    """Reads one log; has what is found when it is old written again."""

    __slots__ = ("_damaged", "_heads", "_log", "_memory", "_refresh")

    def __init__(
        self, ring: Ring, log: Log, refresh: RefreshQueue, damaged: Counter
    ) -> None:
        self._memory = ring.memory
        self._heads = ring.heads
        self._log = log
        self._refresh = refresh
        self._damaged = damaged

    def read(self, key: bytes, position: int, now: float) -> Found | None:
        """Return the entry at a position if it is this key's and has not expired."""
        log = self._log
        offset = position % log.units * UNIT_BYTES
        room = log.size - offset - HEAD_BYTES
        if room < 0:
            return None
        start = log.start + offset
        checksum, stored_key, length, expiry = _unpack_head(self._memory, start)
        if stored_key != key or length > room:
            # Not overwritten, and no other key with the same tag: damaged.
            if self._age(position) <= log.units and not self._is_sound(start, room):
                self._damaged.n += 1
            return None
        rest = self._memory[start + CHECKSUM_BYTES : start + HEAD_BYTES + length]
        age = (self._heads[log.head] // UNIT_BYTES - position) % log.wrap
        if age > log.units:  # it was overwritten meanwhile, or is not of this lap
            return None
        if crc32(rest) != checksum:
            self._damaged.n += 1
            return None
        if expiry <= now:
            return None
        if age > log.old:
            self._refresh.add(key, rest, checksum)
        return expiry, rest[HEAD_BYTES - CHECKSUM_BYTES :]

    def _age(self, position: int) -> int:
        """Return how much has been appended since an entry was, in units."""
        return (self._heads[self._log.head] // UNIT_BYTES - position) % self._log.wrap

    def _is_sound(self, start: int, room: int) -> bool:
        """Return whether there is an entry, of whatever key."""
        checksum, _, length, _ = _unpack_head(self._memory, start)
        if length > room:
            return False
        rest = self._memory[start + CHECKSUM_BYTES : start + HEAD_BYTES + length]
        return bool(crc32(rest) == checksum)
