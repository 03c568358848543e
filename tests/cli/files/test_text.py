"""Text files in chunks, from any position."""

from pathlib import Path

import pytest

from gomlx.cli.files.tables import START, Chunk, InputChanged
from gomlx.cli.files.text import CsvTable, JsonLinesTable

CSV = 'x,y\n1,"a\nb"\n\n2,c\n3,d\n4,\xff\n'.encode("latin-1")
JSON_LINES = b'{"x":1}\n\n {"x":2} \n{"x":3}'


def csv_table(folder: Path, data: bytes = CSV) -> CsvTable:
    path = folder / "a.csv"
    path.write_bytes(data)
    return CsvTable(path, ",")


def rows(chunks: list[Chunk]) -> list[list[str]]:
    return [row for chunk in chunks for row in chunk.rows]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_a_table_is_read_on_from_the_end_of_each_chunk(
    tmp_path: Path, size: int
) -> None:
    table = csv_table(tmp_path)
    chunks = list(table.chunks(START, size))
    assert [len(chunk.rows) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)
    everything = rows(chunks)
    assert [row[0] for row in everything] == ["1", "2", "3", "4"]
    assert everything[0][1] == "a\nb"
    assert chunks[-1].end.offset == table.total
    for i, chunk in enumerate(chunks):
        assert chunk.end.rows == len(rows(chunks[: i + 1]))
        assert rows(list(table.chunks(chunk.end, size))) == rows(chunks[i + 1 :])


def test_json_lines_are_read_on_from_the_end_of_each_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(JSON_LINES)
    table = JsonLinesTable(path)
    chunks = list(table.chunks(START, 1))
    lines = [[b'{"x":1}'], [b'{"x":2}'], [b'{"x":3}']]
    assert [chunk.rows for chunk in chunks] == lines
    assert [c.rows for c in table.chunks(chunks[0].end, 1)] == lines[1:]


def test_a_changed_beginning_is_found(tmp_path: Path) -> None:
    first, *_ = csv_table(tmp_path).chunks(START, 2)
    other = csv_table(tmp_path, CSV.replace(b"1,", b"7,"))
    with pytest.raises(InputChanged, match="changed before row 3"):
        list(other.chunks(first.end, 2))


def test_a_changed_rest_is_read_as_it_is(tmp_path: Path) -> None:
    first, *_ = csv_table(tmp_path).chunks(START, 2)
    other = csv_table(tmp_path, CSV.replace(b"3,d", b"5,e"))
    assert rows(list(other.chunks(first.end, 2)))[0] == ["5", "e"]


def test_a_file_that_has_become_shorter_is_found(tmp_path: Path) -> None:
    *_, last = csv_table(tmp_path).chunks(START, 2)
    other = csv_table(tmp_path, CSV[:9])
    with pytest.raises(InputChanged, match="shorter"):
        list(other.chunks(last.end, 2))
