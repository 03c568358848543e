"""Files that are written in pieces."""

import random
from pathlib import Path

import pytest

from gomlx.models.writing import PIECE_BYTES, FlushedFile, copy_links


@pytest.mark.parametrize("sizes", [[], [0], [1, 2], [7 * PIECE_BYTES + 3, 5]])
def test_what_is_written_is_there(tmp_path: Path, sizes: list[int]) -> None:
    parts = [random.Random(size).randbytes(size) for size in sizes]
    with FlushedFile(tmp_path / "file") as file:
        for part in parts:
            file.write(part)
    assert (tmp_path / "file").read_bytes() == b"".join(parts)


def test_an_array_of_several_dimensions(tmp_path: Path) -> None:
    matrix = memoryview(b"abcdef").cast("B", (2, 3))
    with FlushedFile(tmp_path / "file") as file:
        file.write(matrix)
    assert (tmp_path / "file").read_bytes() == b"abcdef"


def test_a_file_that_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("another")
    with pytest.raises(FileExistsError):
        FlushedFile(tmp_path / "file")


def test_links_become_files(tmp_path: Path) -> None:
    (tmp_path / "source").write_text("content")
    (tmp_path / "m" / "variables").mkdir(parents=True)
    link = tmp_path / "m" / "variables" / "data"
    link.symlink_to(tmp_path / "source")
    copy_links(tmp_path / "m")
    (tmp_path / "source").write_text("changed")
    assert not link.is_symlink()
    assert link.read_text() == "content"
