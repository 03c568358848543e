"""Is a store sound? For a process of its own.

Usage: python -m gomlx.cache.shared_memory.check DIR BYTES

LMDB believes its pages. A node that points past its page ends the process; a list of
free pages that names one in use is worse: answers are overwritten. So, before LMDB sees
the file, it is read here, as bytes: every page is in one place only, a tree or the list
of free pages; every tree has the shape that its header says; keys ascend; every entry
has its checksum. Then LMDB opens it, and writes.

Prints how many entries there are, or says on standard error what is wrong.
"""

import mmap
import signal
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from zlib import crc32

from gomlx.cache.shared_memory.store import (
    CHECKSUM_BYTES,
    EXPIRY_BYTES,
    FORMAT,
    META,
    PARTS,
    TABLES,
    environment,
)

SECONDS = 10  # a store that takes longer to check is not worth the wait

# LMDB's file format, its version 1, on a 64-bit little-endian machine.
_PAGE = mmap.PAGESIZE
_NOTHING = 2**64 - 1
_BRANCH, _LEAF, _OVERFLOW, _META = 1, 2, 4, 8  # what a page is
_ELSEWHERE, _TABLE = 1, 2  # what a node's data is: in overflow pages, a tree's header
_INTEGER_KEYS = 8
_PAGE_HEADER = struct.Struct("<QHHHH")  # number, -, what it is, end of slots, of room
_OVERFLOW_HEADER = struct.Struct("<QHHI")  # number, -, what it is, pages
_META_HEAD = struct.Struct("<IIQQ")  # magic, version, -, size of the map
_TREE = struct.Struct("<IHHQQQQQ")
_META_TAIL = struct.Struct("<QQ")  # last page, transaction
_NODE = struct.Struct("<HHHH")  # low and high half of a size, flags, size of the key
_MAGIC, _VERSION = 0xBEEFC0DE, 1

# CRC-32 of anything that ends in its own CRC-32.
_RIGHT = crc32(crc32(b"").to_bytes(CHECKSUM_BYTES, "little"))


class Damaged(Exception):
    """What is wrong with a file."""


class Tree(NamedTuple):
    """The header of a tree of pages, as LMDB stores it."""

    page_bytes: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


# Key, flags, data (of a leaf), page (of a branch). PERF: one is made for every entry.
Node = tuple[bytes, int, memoryview, int]


class Pages:
    """The pages of a file, each of which may be used once."""

    def __init__(self, file: memoryview) -> None:
        self._file = file
        metas = [self._meta(number) for number in (0, 1)]
        self.free, self.main, self.last, _ = max(metas, key=lambda meta: meta[3])
        if not 1 <= self.last < len(file) // _PAGE:
            raise Damaged(f"last page {self.last}")
        self._is_used = bytearray(b"\1\1") + bytes(self.last - 1)

    def use(self, first: int, count: int = 1) -> None:
        """Raise Damaged if one of these pages is used already, or cannot be."""
        after = first + count
        if first > self.last or after > self.last + 1:
            raise Damaged(f"page {first}, {count} pages: past the last")
        if any(self._is_used[first:after]):
            raise Damaged(f"page {first}, {count} pages: used twice")
        self._is_used[first:after] = b"\1" * count

    def unused(self) -> int:
        return self._is_used.count(0)

    def nodes(self, tree: Tree) -> Iterator[Node]:
        """The nodes of a tree's leaves, in order; Damaged if it is not as it says."""
        self._seen = {_BRANCH: 0, _LEAF: 0, _OVERFLOW: 0}
        entries = 0
        if tree.root != _NOTHING:
            for node in self._below(tree.root, tree.depth):
                entries += 1
                yield node
        elif tree.depth:
            raise Damaged("a depth without a root")
        if (entries, *self._seen.values()) != (
            *(tree.entries, tree.branches, tree.leaves, tree.overflows),
        ):
            raise Damaged("a tree of another size than it says")

    def _below(self, number: int, depth: int) -> Iterator[Node]:
        nodes = self._page(number, _BRANCH if depth > 1 else _LEAF)
        if depth == 1:
            yield from nodes
            return
        if depth < 1 or len(nodes) < 2:
            raise Damaged(f"page {number}: a branch that is none")
        for _, _, _, page in nodes:
            yield from self._below(page, depth - 1)

    def _page(self, number: int, kind: int) -> list[Node]:
        self.use(number)
        self._seen[kind] += 1
        page = self._file[number * _PAGE : (number + 1) * _PAGE]
        own, _, flags, lower, upper = _PAGE_HEADER.unpack_from(page)
        if (own, flags) != (number, kind):
            raise Damaged(f"page {number}: another kind of page")
        if not _PAGE_HEADER.size < lower <= upper <= _PAGE or lower % 2:
            raise Damaged(f"page {number}: no nodes")
        slots = struct.unpack_from(f"<{(lower - _PAGE_HEADER.size) // 2}H", page, 16)
        nodes, sizes = [], 0
        for slot in slots:
            if not upper <= slot <= _PAGE - _NODE.size:
                raise Damaged(f"page {number}: a node outside of its room")
            node, size = self._node(page, slot, kind)
            sizes += size
            nodes.append(node)
        if sizes != _PAGE - upper:
            raise Damaged(f"page {number}: nodes overlap")
        return nodes

    def _node(self, page: memoryview, slot: int, kind: int) -> tuple[Node, int]:
        """Return a node, and its size within the page."""
        low, high, flags, key_bytes = _NODE.unpack_from(page, slot)
        data = slot + _NODE.size + key_bytes
        key = bytes(page[slot + _NODE.size : data])
        if kind == _BRANCH:
            number = low | high << 16 | flags << 32
            after, node = data, (key, 0, page[data:data], number)
        elif flags == _ELSEWHERE:
            after = data + 8
            large = self._overflow(page[data:after], low | high << 16)
            node = key, 0, large, 0
        else:
            after = data + (low | high << 16)
            node = key, flags, page[data:after], 0
        if after > _PAGE:
            raise Damaged("a node that is larger than its page")
        return node, (after - slot + 1) & ~1

    def _overflow(self, where: memoryview, size: int) -> memoryview:
        number = int.from_bytes(where, "little")
        count = (_PAGE_HEADER.size + size + _PAGE - 1) // _PAGE
        self.use(number, count)
        self._seen[_OVERFLOW] += count
        start = number * _PAGE
        own, _, flags, said = _OVERFLOW_HEADER.unpack_from(self._file, start)
        if (own, flags, said) != (number, _OVERFLOW, count):
            raise Damaged(f"page {number}: another kind of page")
        start += _PAGE_HEADER.size
        return self._file[start : start + size]

    def _meta(self, number: int) -> tuple[Tree, Tree, int, int]:
        """Return the trees of free pages and of tables, last page, transaction."""
        at = number * _PAGE
        if _PAGE_HEADER.unpack_from(self._file, at)[2] != _META:
            raise Damaged("not a file of LMDB")
        at += _PAGE_HEADER.size
        magic, version, _, size = _META_HEAD.unpack_from(self._file, at)
        if (magic, version, size) != (_MAGIC, _VERSION, len(self._file)):
            raise Damaged("not a file of this format")
        at += _META_HEAD.size
        free = Tree(*_TREE.unpack_from(self._file, at))
        main = Tree(*_TREE.unpack_from(self._file, at + _TREE.size))
        if (free.page_bytes, free.flags, main.flags) != (_PAGE, _INTEGER_KEYS, 0):
            raise Damaged("not a file of this format")
        return free, main, *_META_TAIL.unpack_from(self._file, at + 2 * _TREE.size)


def check(file: memoryview) -> int:
    """Return how many entries a store's file holds; raise Damaged."""
    pages = Pages(file)
    tables = {}
    for name, flags, data, _ in pages.nodes(pages.main):
        if flags != _TABLE or len(data) != _TREE.size:
            raise Damaged("not a store")
        tables[name] = Tree(*_TREE.unpack_from(data))
    if tables.keys() != {META, *(name for pair in TABLES for name in pair)}:
        raise Damaged("not a store")
    if any(tree.flags for tree in tables.values()):
        raise Damaged("not a store")
    _check_meta({key: bytes(data) for key, _, data, _ in pages.nodes(tables.pop(META))})
    for tree in tables.values():
        _check_entries(pages.nodes(tree))
    _check_free(pages)
    return sum(tree.entries for tree in tables.values())


def _check_meta(meta: dict[bytes, bytes]) -> None:
    if meta.get(b"format") != FORMAT:
        raise Damaged("of another version of gomlx")
    *young, hand = meta.get(b"state") or b"\xff"
    if len(young) != PARTS or set(young) > {0, 1} or hand >= PARTS:
        raise Damaged("the state of no store")


def _check_entries(nodes: Iterator[Node]) -> None:
    last = b""
    for key, flags, data, _ in nodes:
        if key <= last or len(key) != 16 or flags:
            raise Damaged("keys do not ascend")
        last = key
        if crc32(data, crc32(key)) != _RIGHT or len(data) < EXPIRY_BYTES:
            raise Damaged("an entry with another checksum")


def _check_free(pages: Pages) -> None:
    """A record of the free list: the transaction, then how many pages and which."""
    last = 0
    for key, flags, data, _ in pages.nodes(pages.free):
        transaction = int.from_bytes(key, "little")
        if transaction <= last or len(key) != 8 or flags or len(data) % 8:
            raise Damaged("a list of free pages that is none")
        last = transaction
        count, *numbers = struct.unpack(f"<{len(data) // 8}Q", data)
        # LMDB leaves room behind.
        if count > len(numbers):
            raise Damaged("a list of free pages that is too long")
        for number in numbers[:count]:
            pages.use(number)
    if pages.unused():
        raise Damaged(f"{pages.unused()} pages are nowhere")


def main() -> None:
    """Check a store, and say what was found."""
    signal.alarm(SECONDS)  # its default action cannot be held up
    directory, size = Path(sys.argv[1]), int(sys.argv[2])
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
