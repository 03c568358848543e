"""Reads the pages of an LMDB file as bytes, and trusts none of them.

This is version 1 of LMDB's file format, on a 64-bit little-endian machine.
"""

import mmap
import struct
from collections.abc import Iterator
from typing import NamedTuple

TABLE = 2  # flag of a node: its data is the header of a tree

_PAGE = mmap.PAGESIZE
_NO_PAGE = 2**64 - 1
# What a page is.
_BRANCH = 1
_LEAF = 2
_OVERFLOW = 4
_META = 8
_IN_OVERFLOW = 1  # flag of a node: its data is in overflow pages
_INTEGER_KEYS = 8  # flag of a tree
_PAGE_HEADER = struct.Struct("<QHHHH")  # number, -, what it is, end of slots, of room
_OVERFLOW_HEADER = struct.Struct("<QHHI")  # number, -, what it is, pages
_META_HEAD = struct.Struct("<IIQQ")  # magic, version, -, size of the map
_TREE = struct.Struct("<IHHQQQQQ")
_META_TAIL = struct.Struct("<QQ")  # last page, transaction
_NODE = struct.Struct("<HHHH")  # low and high half of a size, flags, size of the key
_MAGIC = 0xBEEFC0DE
_VERSION = 1


class Damaged(Exception):
    """A file is not what it should be; the message says why."""


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

    @classmethod
    def read(cls, data: memoryview, start: int = 0) -> "Tree":
        return cls(*_TREE.unpack_from(data, start))


TREE_BYTES = _TREE.size


class _Meta(NamedTuple):
    """A meta page. The one with the later transaction counts."""

    free: Tree
    main: Tree
    last_page: int
    transaction: int


# Key, flags, data (of a leaf), page (of a branch). PERF: one is made for every entry.
Node = tuple[bytes, int, memoryview, int]


class Pages:
    """The pages of a file, each of which may be in one place only."""

    def __init__(self, file: memoryview) -> None:
        self._file = file
        metas = (self._meta(0), self._meta(1))
        meta = max(metas, key=lambda meta: meta.transaction)
        self.free = meta.free
        self.main = meta.main
        self._last = meta.last_page
        if not 1 <= self._last < len(file) // _PAGE:
            raise Damaged(f"last page {self._last}")
        self._is_used = bytearray(b"\1\1") + bytes(self._last - 1)
        self._seen: dict[int, int] = {}  # pages of the tree that is read, by kind

    def use(self, first: int, count: int = 1) -> None:
        """Mark pages as used. Raises Damaged if one is already, or is not there."""
        after = first + count
        if first > self._last or after > self._last + 1:
            raise Damaged(f"page {first}, {count} pages: past the last")
        if any(self._is_used[first:after]):
            raise Damaged(f"page {first}, {count} pages: used twice")
        self._is_used[first:after] = b"\1" * count

    def unused(self) -> int:
        """Return how many pages have not been used."""
        return self._is_used.count(0)

    def nodes(self, tree: Tree) -> Iterator[Node]:
        """Yield the nodes of a tree's leaves, in order. Raises Damaged."""
        self._seen = {_BRANCH: 0, _LEAF: 0, _OVERFLOW: 0}
        entries = 0
        if tree.root != _NO_PAGE:
            for node in self._below(tree.root, tree.depth):
                entries += 1
                yield node
        elif tree.depth:
            raise Damaged("a depth without a root")
        claimed = [tree.branches, tree.leaves, tree.overflows, tree.entries]
        if [*self._seen.values(), entries] != claimed:
            raise Damaged("a tree of another size than its header says")

    def _below(self, number: int, depth: int) -> Iterator[Node]:
        nodes = self._page(number, _BRANCH if depth > 1 else _LEAF)
        if depth == 1:
            yield from nodes
            return
        if depth < 1 or len(nodes) < 2:
            raise Damaged(f"page {number}: not a branch")
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
        nodes = []
        sizes = 0
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
        node: Node
        if kind == _BRANCH:
            after = data
            node = (key, 0, page[data:data], low | high << 16 | flags << 32)
        elif flags == _IN_OVERFLOW:
            after = data + 8
            node = (key, 0, self._overflow(page[data:after], low | high << 16), 0)
        else:
            after = data + (low | high << 16)
            node = (key, flags, page[data:after], 0)
        if after > _PAGE:
            raise Damaged("a node that is larger than its page")
        return node, (after - slot + 1) & ~1

    def _overflow(self, where: memoryview, size: int) -> memoryview:
        number = int.from_bytes(where, "little")
        count = (_PAGE_HEADER.size + size + _PAGE - 1) // _PAGE
        self.use(number, count)
        self._seen[_OVERFLOW] += count
        start = number * _PAGE
        own, _, flags, claimed = _OVERFLOW_HEADER.unpack_from(self._file, start)
        if (own, flags, claimed) != (number, _OVERFLOW, count):
            raise Damaged(f"page {number}: another kind of page")
        start += _PAGE_HEADER.size
        return self._file[start : start + size]

    def _meta(self, number: int) -> _Meta:
        start = number * _PAGE
        if _PAGE_HEADER.unpack_from(self._file, start)[2] != _META:
            raise Damaged("not a file of LMDB")
        start += _PAGE_HEADER.size
        magic, version, _, size = _META_HEAD.unpack_from(self._file, start)
        if (magic, version, size) != (_MAGIC, _VERSION, len(self._file)):
            raise Damaged("not a file of this format")
        start += _META_HEAD.size
        free = Tree.read(self._file, start)
        main = Tree.read(self._file, start + TREE_BYTES)
        if (free.page_bytes, free.flags, main.flags) != (_PAGE, _INTEGER_KEYS, 0):
            raise Damaged("not a file of this format")
        start += 2 * TREE_BYTES
        return _Meta(free, main, *_META_TAIL.unpack_from(self._file, start))
