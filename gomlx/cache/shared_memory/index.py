"""The index of a ring: where the entries of keys begin.

A key's first five bytes, little-endian, modulo the number of buckets, say which is its
own; keys are digests, so buckets fill evenly. A bucket has eight slots: six for the log
of kept entries, two for that of new ones, in each the youngest first. A slot is the
next three bytes of the key (its tag) and the entry's position in its log, in units of 8
bytes, in five bytes, little-endian. A slot of zeros is free.

A slot that is added pushes out the last of its kind. Slots whose entries have been
overwritten stay until then: a key that has one was here not long ago.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gomlx.cache.shared_memory.geometry import BUCKET_BYTES, Geometry, Log

SLOT_BYTES = 8
KEPT_BYTES = 6 * SLOT_BYTES  # of a bucket, its first
_TAG_BYTES = 3
_FREE = bytes(SLOT_BYTES)


class IndexSlot(NamedTuple):
    """A slot in use."""

    tag: bytes
    log: Log
    position: int


def find(bucket: bytes, tag: bytes) -> int:
    """Return where in a bucket the first slot with a tag begins, or -1."""
    i = bucket.find(tag)
    while i % SLOT_BYTES and i > 0:
        i = bucket.find(tag, i + 1)
    return i


def with_kept(bucket: bytes, tag: bytes, slot: bytes) -> bytes:
    """Return a bucket with a slot of a kept entry, in place of any of the same tag."""
    i = find(bucket, tag)
    last = KEPT_BYTES - SLOT_BYTES
    if i < 0:
        return slot + bucket[:last] + bucket[KEPT_BYTES:]
    if i < KEPT_BYTES:
        return slot + bucket[:i] + bucket[i + SLOT_BYTES :]
    new = bucket[KEPT_BYTES:i] + bucket[i + SLOT_BYTES :] + _FREE
    return slot + bucket[:last] + new


def slots_of(bucket: bytes, geometry: Geometry) -> Iterator[IndexSlot]:
    """Yield the slots in use."""
    for i in range(0, BUCKET_BYTES, SLOT_BYTES):
        slot = bucket[i : i + SLOT_BYTES]
        if slot != _FREE:
            position = int.from_bytes(slot[_TAG_BYTES:], "little")
            log = geometry.kept if i < KEPT_BYTES else geometry.new
            yield IndexSlot(slot[:_TAG_BYTES], log, position)
