"""How the file of a ring is divided, and what its first page says.

    header    4096 bytes: format (below), and at 64 and 128 the heads of the two logs,
              each the bytes ever appended to it and one lap (8 bytes, in the order of
              the machine: it is stored at once)
    index     buckets of 64 bytes (index.py)
    kept      a log: answers that were requested again
    new       a log: the others

An entry's position is the head of its log before it was appended. The index stores
it in units of 8 bytes and in 40 bits, so it wraps: at a multiple of the log's size, so
that a wrapped position still says where in the log the entry is.
"""

import struct
from dataclasses import dataclass
from zlib import crc32

HEADER_BYTES = 4096
BUCKET_BYTES = 64
UNIT_BYTES = 8
HEADS = slice(64, 192)
KEPT_HEAD = 0  # in 8 bytes from the begin of HEADS
NEW_HEAD = 8
MIN_BYTES = 64 << 10
_FORMAT = struct.Struct("<16sIQQQ")  # magic, format, buckets, bytes of kept and of new
_CHECKSUM = struct.Struct("<I")
_HEADS_IN_HEADER = struct.Struct("=64xQ56xQ")
_MAGIC = b"gomlx ring"
_VERSION = 1
_POSITIONS = 1 << 40
MAX_HEAD = 1 << 63


@dataclass(frozen=True)
class Shares:
    """How a ring is divided; python -m loadtests.l1.shares compares others.

    index: of the file. new: of the logs. old_kept, old_new: of its log, how much has
    been appended since an entry was, when it counts as old.
    """

    index: float = 0.2
    new: float = 0.1
    old_kept: float = 0.8
    old_new: float = 0.5


@dataclass(frozen=True)
class Log:
    """A part of the file that is written round and round. start and size in bytes.

    head says which head is its own. old: the age in units from which on an entry that
    is found is written again.
    """

    head: int
    start: int
    size: int
    units: int
    wrap: int  # of positions, in units
    old: int

    @classmethod
    def of(cls, head: int, start: int, size: int, old_share: float) -> "Log":
        units = size // UNIT_BYTES
        wrap = _POSITIONS // units * units
        return cls(head, start, size, units, wrap, int(units * old_share))


@dataclass(frozen=True)
class Geometry:
    """The parts of a file."""

    buckets: int
    kept: Log
    new: Log

    @classmethod
    def of(cls, size_bytes: int, shares: Shares = Shares()) -> "Geometry":
        """Return that of a file."""
        buckets = int(size_bytes * shares.index) // BUCKET_BYTES
        start = HEADER_BYTES + buckets * BUCKET_BYTES
        new_bytes = _whole_units((size_bytes - start) * shares.new)
        kept_bytes = _whole_units(size_bytes - start - new_bytes)
        return cls(
            buckets,
            Log.of(KEPT_HEAD, start, kept_bytes, shares.old_kept),
            Log.of(NEW_HEAD, start + kept_bytes, new_bytes, shares.old_new),
        )

    def header(self) -> bytes:
        """Return the first page of an empty ring."""
        page = bytearray(HEADER_BYTES)
        form = self._form()
        _HEADS_IN_HEADER.pack_into(page, 0, self.kept.size, self.new.size)
        page[: len(form)] = form
        return bytes(page)

    def flaw_of(self, header: bytes) -> str:
        """Return why a first page is not that of a ring so divided, or nothing."""
        form = self._form()
        if header[: len(form)] != form:
            return "it is damaged, or of another version of gomlx"
        heads = _HEADS_IN_HEADER.unpack_from(header)
        for head, log in zip(heads, (self.kept, self.new), strict=True):
            if not log.size <= head < MAX_HEAD or head % UNIT_BYTES:
                return "the head of a log is damaged"
        return ""

    def _form(self) -> bytes:
        sizes = self.buckets, self.kept.size, self.new.size
        form = _FORMAT.pack(_MAGIC, _VERSION, *sizes)
        return form + _CHECKSUM.pack(crc32(form))


def _whole_units(size: float) -> int:
    return int(size) // UNIT_BYTES * UNIT_BYTES
