"""A sorted table of strings, as TensorFlow's checkpoints have one for their index.

The format is LevelDB's (doc/table_format.md there): blocks of entries, each of which
shares the begin of its key with the one before; an index of the blocks; and 48 bytes
at the end that say where that is.
"""

from collections.abc import Iterator
from typing import NamedTuple

from gomlx.models.staging.variables.crc32c import crc32c, unmasked

_FOOTER_BYTES = 48
_MAGIC = 0xDB4775248B80FB57
_TRAILER_BYTES = 5  # of a block: its compression, and its checksum
_WORD_BYTES = 4


class NotReadable(Exception):
    """A table of a kind that is not read here: compressed, or none at all."""


class _Part(NamedTuple):
    """Where a block is, and where its handle ends."""

    offset: int
    size: int
    end: int


def entries(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of a whole table. Raises NotReadable."""
    footer = content[-_FOOTER_BYTES:]
    if len(footer) < _FOOTER_BYTES or int.from_bytes(footer[-8:], "little") != _MAGIC:
        raise NotReadable("it does not end as a table does")
    try:
        index = _handle(footer, _handle(footer, 0).end)
        for _, handle in _block(content, index):
            yield from _block(content, _handle(handle, 0))
    except IndexError:
        raise NotReadable("it is cut short") from None


def _block(content: bytes, part: _Part) -> Iterator[tuple[bytes, bytes]]:
    """Yield the entries of a block. Raises NotReadable, IndexError."""
    end = part.offset + part.size
    trailer = content[end : end + _TRAILER_BYTES]
    if len(trailer) < _TRAILER_BYTES or trailer[0] != 0:
        raise NotReadable("a block is compressed")
    if crc32c(content[part.offset : end + 1]) != unmasked(_word(trailer[1:])):
        raise NotReadable("the checksum of a block is another one")
    block = content[part.offset : end]
    restarts = _word(block[-_WORD_BYTES:])
    last = len(block) - _WORD_BYTES * (restarts + 1)
    place = 0
    key = b""
    while place < last:
        shared, place = _number(block, place)
        own, place = _number(block, place)
        size, place = _number(block, place)
        key = key[:shared] + block[place : place + own]
        place += own
        yield key, block[place : place + size]
        place += size


def _handle(data: bytes, place: int) -> _Part:
    offset, place = _number(data, place)
    size, place = _number(data, place)
    return _Part(offset, size, place)


def _number(data: bytes, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, and where it ends."""
    found = 0
    shift = 0
    while True:
        byte = data[place]
        place += 1
        found |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return found, place


def _word(data: bytes) -> int:
    return int.from_bytes(data[:_WORD_BYTES], "little")
