"""Is a store sound? A program of its own.

Usage: python -m gomlx.cache.shared_memory.check DIR BYTES

LMDB trusts its pages. A node that points past its page ends the process; a list of free
pages that names one in use is worse: answers are overwritten. So, before LMDB sees the
file, it is read here, as bytes: every page is in one place only, a tree or the list of
free pages; every tree has the shape that its header says; keys ascend; every entry has
its checksum. Then LMDB opens it, and writes.

Prints how many entries there are, or on standard error the problem found.
"""

import mmap
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

from gomlx.cache.shared_memory.entry import CHECKSUM_BYTES, EXPIRY_BYTES
from gomlx.cache.shared_memory.lmdb_pages import (
    TABLE,
    TREE_BYTES,
    Damaged,
    Node,
    Pages,
    Tree,
)
from gomlx.cache.shared_memory.store import FORMAT, META, PARTS, TABLES, environment

SECONDS = 10  # a store that takes longer to check is not worth the wait

# CRC-32 of anything that ends in its own CRC-32.
_RIGHT = crc32(crc32(b"").to_bytes(CHECKSUM_BYTES, "little"))


def check(file: memoryview) -> int:
    """Return how many entries a store's file holds; raise Damaged."""
    pages = Pages(file)
    tables = _tables(pages)
    _check_meta({key: bytes(data) for key, _, data, _ in pages.nodes(tables.pop(META))})
    for tree in tables.values():
        _check_entries(pages.nodes(tree))
    _check_free(pages)
    return sum(tree.entries for tree in tables.values())


def _tables(pages: Pages) -> dict[bytes, Tree]:
    """Return the headers of a store's tables by their names."""
    tables = {}
    for name, flags, data, _ in pages.nodes(pages.main):
        if flags != TABLE or len(data) != TREE_BYTES:
            raise Damaged("not a store")
        tables[name] = Tree.read(data)
    if tables.keys() != {META, *(name for pair in TABLES for name in pair)}:
        raise Damaged("not a store")
    if any(tree.flags for tree in tables.values()):
        raise Damaged("not a store")
    return tables


def _check_meta(meta: dict[bytes, bytes]) -> None:
    if meta.get(b"format") != FORMAT:
        raise Damaged("of another version of gomlx")
    *young, next_part = meta.get(b"state") or b"\xff"
    if len(young) != PARTS or set(young) > {0, 1} or next_part >= PARTS:
        raise Damaged("a state that no store has")


def _check_entries(nodes: Iterator[Node]) -> None:
    last = b""
    for key, flags, data, _ in nodes:
        if key <= last or len(key) != 16 or flags:
            raise Damaged("keys do not ascend")
        last = key
        if crc32(data, crc32(key)) != _RIGHT or len(data) < EXPIRY_BYTES:
            raise Damaged("an entry with another checksum")


def _check_free(pages: Pages) -> None:
    """Check the free list: by transaction, how many pages and which."""
    last = 0
    for key, flags, data, _ in pages.nodes(pages.free):
        transaction = int.from_bytes(key, "little")
        if transaction <= last or len(key) != 8 or flags or len(data) % 8:
            raise Damaged("a list of free pages in another format")
        last = transaction
        count, *numbers = struct.unpack(f"<{len(data) // 8}Q", data)
        # LMDB leaves unused room behind the list.
        if count > len(numbers):
            raise Damaged("a list of free pages that is too long")
        for number in numbers[:count]:
            pages.use(number)
    if pages.unused():
        raise Damaged(f"{pages.unused()} pages are in no tree and not free")


def main() -> None:
    """Check a store, and print the outcome."""
    signal.alarm(SECONDS)  # its default action ends the process at once
    directory = Path(sys.argv[1])
    size = int(sys.argv[2])
    try:
        with (directory / "data.mdb").open("rb") as file:
            pages = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
        entries = check(memoryview(pages))
    except (Damaged, struct.error) as damage:
        sys.exit(str(damage))
    with environment(directory, size) as opened:
        table = opened.open_db(META, create=False)
        with opened.begin(write=True) as transaction:
            transaction.put(b"nudge", b"", db=table)
    print(f"{entries} entries are kept")  # noqa: T201  # read by the parent


if __name__ == "__main__":
    main()
