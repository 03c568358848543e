"""Appends entries to the logs of a ring, over the oldest ones.

A writer may die after any store, and readers look at any moment, so the order is: the
head first, from when on readers believe nothing in the part that is written; then the
bytes of an entry; then its slot in the index. A death leaves a part that no slot refers
to, or none that counts.

An entry goes to the log of new ones, a tenth of the space. If its key is requested
again, before or not long after it is overwritten there, it goes to the log of kept
ones. So what is requested once does not push out what is requested often.
"""

from collections.abc import Mapping

from gomlx.cache.shared_memory.geometry import (
    BUCKET_BYTES,
    HEADER_BYTES,
    MAX_HEAD,
    UNIT_BYTES,
    Log,
)
from gomlx.cache.shared_memory.index import (
    KEPT_BYTES,
    SLOT_BYTES,
    find,
    with_kept,
)
from gomlx.cache.shared_memory.ring import Ring

_MAX_SHARE = 1 / 4  # of its log that an entry may take
_Item = tuple[int, bytes, bytes]  # where its bucket is, its tag, the entry


class Appender:
    """For the process that holds the writer lock, and for one thread at a time."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._kept = ring.geometry.kept
        self._new = ring.geometry.new
        self._max_new_bytes = int(self._new.size * _MAX_SHARE)
        self.max_entry_bytes = int(self._kept.size * _MAX_SHARE)

    def append(self, entries: Mapping[bytes, bytes]) -> None:
        """Write entries, each of max_entry_bytes at most."""
        ring = self._ring
        memory = ring.memory
        buckets = ring.geometry.buckets
        number = int.from_bytes
        # Until it is full for the first time, the log of kept entries takes all.
        max_new = self._max_new_bytes
        if ring.heads[self._kept.head] < 2 * self._kept.size:
            max_new = 0
        new: list[_Item] = []
        kept: list[_Item] = []
        for key, entry in entries.items():
            # PERF: in line, a call would cost a tenth more (loadtests.l1.costs).
            at = HEADER_BYTES + number(key[:5], "little") % buckets * BUCKET_BYTES
            tag = key[5:8]
            bucket = memory[at : at + BUCKET_BYTES]
            if len(entry) > max_new or (tag in bucket and self._is_known(bucket, tag)):
                kept.append((at, tag, entry))
            else:
                new.append((at, tag, entry))
        if new:
            self._append_new(new)
        if kept:
            self._append_kept(kept)

    def _is_known(self, bucket: bytes, tag: bytes) -> bool:
        """Return whether a key with this tag was here not long ago."""
        i = find(bucket, tag)
        if i < KEPT_BYTES:
            return i >= 0
        log = self._new
        position = int.from_bytes(bucket[i + 3 : i + SLOT_BYTES], "little")
        head = self._ring.heads[log.head] // UNIT_BYTES
        return (head - position) % log.wrap <= log.units + self._kept.units

    def _append_new(self, items: list[_Item]) -> None:
        memory = self._ring.memory
        positions = self._write(self._new, items)
        for (at, tag, _), position in zip(items, positions, strict=True):
            slot = tag + position.to_bytes(5, "little")
            start = at + KEPT_BYTES
            end = at + BUCKET_BYTES
            memory[start:end] = slot + memory[start : end - SLOT_BYTES]

    def _append_kept(self, items: list[_Item]) -> None:
        memory = self._ring.memory
        positions = self._write(self._kept, items)
        for (at, tag, _), position in zip(items, positions, strict=True):
            slot = tag + position.to_bytes(5, "little")
            end = at + BUCKET_BYTES
            memory[at:end] = with_kept(memory[at:end], tag, slot)

    def _write(self, log: Log, items: list[_Item]) -> list[int]:
        """Move a log's head, then write entries; return their positions in units."""
        heads = self._ring.heads
        begin = head = heads[log.head] % MAX_HEAD // UNIT_BYTES * UNIT_BYTES
        positions = []
        runs: list[list[bytes]] = [[]]
        for _, _, entry in items:
            offset = head % log.size
            if offset + len(entry) > log.size:  # an entry is in one piece
                head += log.size - offset
                offset = 0
            if offset == 0:
                runs.append([])
            positions.append(head // UNIT_BYTES % log.wrap)
            runs[-1].append(entry)
            head += len(entry)
        heads[log.head] = head
        start = log.start + begin % log.size
        for run in runs:
            data = b"".join(run)
            self._ring.memory[start : start + len(data)] = data
            start = log.start
        return positions
