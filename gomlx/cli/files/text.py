"""Tables in text files: comma- or tab-separated values, and JSON lines."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from gomlx.cli.files.tables import START, Chunk, Columns, InputChanged, Position
from gomlx.cli.values import answer_values, parse_value
from gomlx.client.answer import Answer
from gomlx.contract.tensor import Tensor
from gomlx.errors import GomlxError, InvalidInput

_MAX_LINE_BYTES = 16 << 20
_READ_BYTES = 1 << 20


class LineReader:
    """The lines of a file after a position; counts bytes and digests them.

    The user of the lines counts the rows, in `rows`: a row may have several lines.
    """

    def __init__(self, path: Path, start: Position) -> None:
        self._path = path
        self._digest = blake2b(digest_size=16)
        self.rows = start.rows
        self.offset = 0
        with path.open("rb") as file:
            while self.offset < start.offset:
                self._add(file.read(min(_READ_BYTES, start.offset - self.offset)))
        if start.offset and self._digest.hexdigest() != start.digest:
            raise InputChanged(f"{path} has changed before row {start.rows + 1}")

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self.offset)
            while line := file.readline(_MAX_LINE_BYTES):
                if len(line) == _MAX_LINE_BYTES:
                    raise GomlxError(f"row {self.rows + 1}: longer than 16 MiB")
                self._add(line)
                yield line

    @property
    def position(self) -> Position:
        """The position after the last line."""
        return Position(self.rows, self.offset, self._digest.hexdigest())

    def _add(self, data: bytes) -> None:
        if not data:
            raise InputChanged("the file has become shorter")
        self._digest.update(data)
        self.offset += len(data)


class CsvTable:
    """Comma- or tab-separated values with a header, in UTF-8.

    Cells that no input needs may have any bytes; they are copied.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        self._delimiter = delimiter
        self.total = path.stat().st_size
        header = next(self._reader(LineReader(path, START)), None)
        if not header:
            raise GomlxError(f"{path}: there is no header")
        header[0] = header[0].removeprefix("\ufeff")  # Excel's mark of UTF-8
        self._names: list[str] = header
        self._places = {name: i for i, name in enumerate(header)}

    def names(self) -> Sequence[str]:
        return self._names

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        lines = LineReader(self._path, start)
        reader = self._reader(lines)
        if not start.offset:
            next(reader)
        rows: list[list[str]] = []
        try:
            for row in reader:
                if not row:
                    continue  # an empty line
                rows.append(row)
                lines.rows += 1
                if len(rows) == size:
                    yield Chunk(rows, lines.position)
                    rows = []
        except csv.Error as error:
            raise GomlxError(f"row {lines.rows + 1}: {error}") from None
        if rows:
            yield Chunk(rows, lines.position)

    def inputs(self, rows: Any, columns: Columns) -> dict[str, list[Any]]:
        width = len(self._names)
        for i, row in enumerate(rows):
            if len(row) != width:
                raise InvalidInput(f"expected {width} cells, got {len(row)}", row=i)
        return {tensor.name: self._values(rows, tensor) for tensor in columns.inputs}

    def header(self, columns: Columns) -> bytes:
        return self._encode_rows([[*self._names, *columns.new]])

    def encode(
        self, rows: Any, answers: Sequence[Answer | None], columns: Columns
    ) -> bytes:
        return self._encode_rows(
            [
                [*row, *map(_cell, answer_values(answer, columns.contract))]
                for row, answer in zip(rows, answers, strict=True)
                if answer is not None
            ]
        )

    def finish(self, part: Path, output: Path) -> None:
        os.replace(part, output)

    def _reader(self, lines: LineReader) -> Iterator[list[str]]:
        # A quoted cell may have line breaks: a row reads as many lines as it needs.
        texts = (line.decode("utf-8", "surrogateescape") for line in lines)
        return csv.reader(texts, delimiter=self._delimiter)

    def _values(self, rows: list[list[str]], tensor: Tensor) -> list[Any]:
        place = self._places[tensor.name]
        texts = [row[place] for row in rows]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            raise InvalidInput("expected UTF-8", tensor.name) from None
        return [parse_value(tensor, text) for text in texts]

    def _encode_rows(self, rows: list[list[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(rows)
        return text.getvalue().encode("utf-8", "surrogateescape")


class JsonLinesTable:
    """A JSON object a line; the output has the same lines, with the answers added."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.total = path.stat().st_size

    def names(self) -> None:
        return None

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        lines = LineReader(self._path, start)
        rows: list[bytes] = []
        for line in lines:
            if not (text := line.strip()):
                continue
            rows.append(text)
            lines.rows += 1
            if len(rows) == size:
                yield Chunk(rows, lines.position)
                rows = []
        if rows:
            yield Chunk(rows, lines.position)

    def inputs(self, rows: Any, columns: Columns) -> dict[str, list[Any]]:
        objects = [_parse_line(line, i, columns) for i, line in enumerate(rows)]
        return {t.name: [one[t.name] for one in objects] for t in columns.inputs}

    def header(self, columns: Columns) -> bytes:
        return b""

    def encode(
        self, rows: Any, answers: Sequence[Answer | None], columns: Columns
    ) -> bytes:
        names = columns.new
        encoded = []
        for line, answer in zip(rows, answers, strict=True):
            if answer is None:
                continue
            values = answer_values(answer, columns.contract)
            added = orjson.dumps(dict(zip(names, values, strict=True)))
            before = line[:-1].rstrip()
            comma = b"" if before.endswith(b"{") else b","
            encoded.append(before + comma + added[1:] + b"\n")
        return b"".join(encoded)

    def finish(self, part: Path, output: Path) -> None:
        os.replace(part, output)


def _parse_line(line: bytes, row: int, columns: Columns) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"malformed JSON: {error}", row=row) from None
    if not isinstance(found, dict):
        raise InvalidInput("expected a JSON object", row=row)
    for tensor in columns.inputs:
        if tensor.name not in found:
            raise InvalidInput("missing", tensor.name, row)
    for name in columns.new:
        if name in found:
            raise InvalidInput(f"has {name!r} already; see --prefix", row=row)
    return found


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
