"""The file of a store, mapped: an index and two logs (geometry.py)."""

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from gomlx.cache.shared_memory.geometry import (
    BUCKET_BYTES,
    HEADER_BYTES,
    HEADS,
    MIN_BYTES,
    UNIT_BYTES,
    Geometry,
    Log,
)
from gomlx.cache.shared_memory.index import slots_of
from gomlx.errors import StoreUnavailable

_SAMPLED_BUCKETS = 512


class Usage(NamedTuple):
    """What a ring holds. bytes: of the logs. entries: estimated.

    overwritten_bytes: since the ring was made.
    """

    bytes: int
    entries: int
    overwritten_bytes: int


class Ring:
    """memory: the whole file. heads: the heads of both logs, by `Log.head`.

    Not safe: opening it before a fork.
    """

    def __init__(self, path: Path, geometry: Geometry | None = None) -> None:
        """Raise StoreUnavailable if the file is no ring. geometry: for measurements."""
        self.memory = _mapped(path)
        self.geometry = geometry or Geometry.of(len(self.memory))
        if flaw := self.geometry.flaw_of(self.memory[:HEADER_BYTES]):
            self.memory.close()
            raise StoreUnavailable(f"{path}: {flaw}")
        self._view = memoryview(self.memory)
        self.heads = self._view[HEADS].cast("Q")

    def close(self) -> None:
        """Unmap it."""
        self.heads.release()
        self._view.release()
        self.memory.close()

    def usage(self) -> Usage:
        """Return what it holds; entries are counted in a sample of the buckets."""
        logs = (self.geometry.kept, self.geometry.new)
        sizes = [log.size for log in logs]
        appended = [self._appended_bytes(log) for log in logs]
        used = sum(map(min, appended, sizes))
        return Usage(used, self._estimated_entries(), sum(appended) - used)

    def overwritten_bytes(self) -> int:
        """Return that part of the usage, at no cost."""
        logs = (self.geometry.kept, self.geometry.new)
        return sum(max(self._appended_bytes(log) - log.size, 0) for log in logs)

    def _appended_bytes(self, log: Log) -> int:
        return max(self.heads[log.head] - log.size, 0)  # a head begins at one lap

    def _estimated_entries(self) -> int:
        buckets = self.geometry.buckets
        sampled = range(0, buckets, max(1, buckets // _SAMPLED_BUCKETS))
        live = sum(len(set(self._live_tags(bucket))) for bucket in sampled)
        return live * buckets // len(sampled)

    def _live_tags(self, bucket: int) -> Iterator[bytes]:
        """Yield the tags of entries that are not overwritten yet."""
        at = HEADER_BYTES + bucket * BUCKET_BYTES
        for slot in slots_of(self.memory[at : at + BUCKET_BYTES], self.geometry):
            head = self.heads[slot.log.head] // UNIT_BYTES
            if (head - slot.position) % slot.log.wrap <= slot.log.units:
                yield slot.tag


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("r+b") as file:
            memory = mmap.mmap(file.fileno(), 0)
    except (OSError, ValueError) as error:  # ValueError: it is empty
        raise StoreUnavailable(f"{path}: {error}") from None
    if len(memory) < MIN_BYTES:
        memory.close()
        raise StoreUnavailable(f"{path}: it is too short")
    return memory
