"""How many pages of a store its tables and its writes may take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import lmdb

from gomlx.cache.shared_memory.store import PARTS

# Of all pages. The rest is for pages that a transaction copies, for those that it
# freed, and for those that readers still hold.
_TABLES_SHARE = 0.92
# Of the pages of the tables, what the young ones take when each is ahead of the next by
# an eighth of an old one: 1/8 + 2/8 + … + 8/8 = 4.5 old ones, beside 8 old ones.
_YOUNG_SHARE = (PARTS + 1) / (3 * PARTS + 1)
_WRITE_SHARE = 1 / 64  # of all pages
_MAX_WRITE_PAGES = 200
_MAX_SHORT_WRITE_PAGES = 100
_MAX_ENTRY_SHARE = 0.35  # of the store


@dataclass(frozen=True)
class PageBudget:
    """Numbers of pages, and the largest entry in bytes."""

    page_bytes: int
    tables: int  # that all tables may take,
    young_tables: float  # and the young ones
    write: int  # that one transaction may add or free
    short_write: int  # the same, of a write that the event loop waits for
    max_entry_bytes: int

    @classmethod
    def of(cls, environment: lmdb.Environment) -> "PageBudget":
        """Return that of an open store."""
        size_bytes: int = environment.info()["map_size"]
        page_bytes: int = environment.stat()["psize"]
        pages = size_bytes // page_bytes
        tables = int(pages * _TABLES_SHARE)
        write = max(2, min(int(pages * _WRITE_SHARE), _MAX_WRITE_PAGES))
        return cls(
            page_bytes=page_bytes,
            tables=tables,
            young_tables=tables * _YOUNG_SHARE,
            write=write,
            short_write=min(write, _MAX_SHORT_WRITE_PAGES),
            max_entry_bytes=int(size_bytes * _MAX_ENTRY_SHARE),
        )

    def pages_of(self, entry: bytes) -> int:
        """Return how many pages writing an entry may copy."""
        return 1 + len(entry) // self.page_bytes

    def batches(self, entries: Mapping[bytes, bytes]) -> Iterator[dict[bytes, bytes]]:
        """Yield entries by transaction, each with room for the pages that it copies."""
        batch: dict[bytes, bytes] = {}
        pages = 0
        for key, entry in entries.items():
            added = self.pages_of(entry)
            if batch and pages + added > self.write:
                yield batch
                batch = {}
                pages = 0
            batch[key] = entry
            pages += added
        if batch:
            yield batch
