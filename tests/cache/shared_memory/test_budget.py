"""Pages that tables and writes may take."""

from pathlib import Path

import pytest

from gomlx.cache.shared_memory.budget import PageBudget
from gomlx.cache.shared_memory.store import create_store, environment


def budget(directory: Path, megabytes: int) -> PageBudget:
    create_store(directory, megabytes << 20)
    with environment(directory, megabytes << 20) as opened:
        return PageBudget.of(opened)


@pytest.mark.parametrize("megabytes", [1, 8, 64])
def test_a_write_takes_less_than_the_tables_leave_free(
    shared_folder: Path, megabytes: int
) -> None:
    made = budget(shared_folder / "store", megabytes)
    pages = (megabytes << 20) // made.page_bytes
    assert made.short_write <= made.write <= 200
    assert made.young_tables < made.tables < pages
    assert 2 * made.write < pages - made.tables


def test_entries_are_cut_into_writes_by_their_pages(shared_folder: Path) -> None:
    made = budget(shared_folder / "store", 8)
    entries = {b"%016d" % n: bytes(n % 3 * made.page_bytes) for n in range(100)}
    batches = list(made.batches(entries))
    pages = [sum(map(made.pages_of, batch.values())) for batch in batches]
    assert max(pages) <= made.write
    assert [key for batch in batches for key in batch] == list(entries)
    assert min(pages[:-1]) > made.write - 3


def test_an_entry_larger_than_a_write_is_written_alone(shared_folder: Path) -> None:
    made = budget(shared_folder / "store", 8)
    large = bytes(made.write * made.page_bytes)
    batches = list(made.batches({b"a": b"", b"b": large, b"c": b""}))
    assert [list(batch) for batch in batches] == [[b"a"], [b"b"], [b"c"]]
