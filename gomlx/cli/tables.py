"""Files of rows: read in chunks from any position, written back with new columns.

A table reads one file. Its rows stay as they came (cells, lines, a batch of Arrow), so
that what is written is what was read; `inputs` tells what a model is to be asked.
"""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from gomlx.cli.asking import output_names, outputs, read
from gomlx.client.answer import Answer
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Tensor
from gomlx.errors import GomlxError, InvalidInput

_LONGEST = 16 << 20  # bytes of a line


@dataclass(frozen=True)
class Position:
    """How far a file has been read: rows, what `total` counts, and a digest of that."""

    rows: int = 0
    offset: int = 0
    digest: str = ""


START = Position()


class Chunk(NamedTuple):
    """Some rows, sliceable, and where the file goes on behind them."""

    rows: Any
    end: Position


@dataclass(frozen=True)
class Plan:
    """Which inputs come from a file's columns; prefix: of the new columns' names."""

    contract: Contract
    inputs: tuple[Tensor, ...]
    prefix: str

    @property
    def names(self) -> list[str]:
        """The new columns."""
        return [self.prefix + name for name in output_names(self.contract)]


class Table(Protocol):
    """A file of rows. total: how large it is, in what positions count."""

    total: int

    def columns(self) -> Sequence[str] | None:
        """Return its columns' names; None when every row has its own."""

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        """Yield the rest of it. Raises Changed if it is not what was read before."""

    def inputs(self, rows: Any, plan: Plan) -> dict[str, list[Any]]:
        """Return columns of values. Raises InvalidInput."""

    def header(self, plan: Plan) -> bytes:
        """Return what stands before all rows."""

    def encoded(self, rows: Any, answers: Sequence[Answer | None], plan: Plan) -> bytes:
        """Return rows with their answers; without those that have none."""

    def finish(self, part: Path, output: Path) -> None:
        """Make the output of all that was encoded, whole or not at all."""


class Changed(GomlxError):
    """The part of a file that was done is not what it was."""


class Lines:
    """The lines of a file from a position on, counted and digested."""

    def __init__(self, path: Path, start: Position) -> None:
        self._path, self._digest = path, blake2b(digest_size=16)
        self.rows, self.offset = start.rows, 0
        with path.open("rb") as file:
            while self.offset < start.offset:
                self._add(file.read(min(1 << 20, start.offset - self.offset)))
        if start.offset and self._digest.hexdigest() != start.digest:
            raise Changed(f"{path} has changed before row {start.rows + 1}")

    def __iter__(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(self.offset)
            while line := file.readline(_LONGEST):
                if len(line) == _LONGEST:
                    raise GomlxError(f"row {self.rows + 1}: longer than 16 MiB")
                self._add(line)
                yield line

    @property
    def position(self) -> Position:
        return Position(self.rows, self.offset, self._digest.hexdigest())

    def _add(self, data: bytes) -> None:
        if not data:
            raise Changed("the file has become shorter")
        self._digest.update(data)
        self.offset += len(data)


class CsvTable:
    """Comma- or tab-separated values in UTF-8, with a header; other bytes pass."""

    def __init__(self, path: Path, delimiter: str = ",") -> None:
        self._path, self._delimiter = path, delimiter
        self.total = path.stat().st_size
        first = next(self._reader(Lines(path, START)), None)
        if not first:
            raise GomlxError(f"{path}: there is no header")
        first[0] = first[0].removeprefix("\ufeff")  # Excel's mark of UTF-8
        self._names: list[str] = first
        self._places = {name: i for i, name in enumerate(self._names)}

    def columns(self) -> Sequence[str]:
        return self._names

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        lines = Lines(self._path, start)
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

    def inputs(self, rows: Any, plan: Plan) -> dict[str, list[Any]]:
        width = len(self._names)
        for i, row in enumerate(rows):
            if len(row) != width:
                raise InvalidInput(f"expected {width} cells, got {len(row)}", row=i)
        return {tensor.name: self._values(rows, tensor) for tensor in plan.inputs}

    def header(self, plan: Plan) -> bytes:
        return self._written([[*self._names, *plan.names]])

    def encoded(self, rows: Any, answers: Sequence[Answer | None], plan: Plan) -> bytes:
        return self._written(
            [
                [*row, *map(_cell, outputs(answer, plan.contract))]
                for row, answer in zip(rows, answers, strict=True)
                if answer is not None
            ]
        )

    def finish(self, part: Path, output: Path) -> None:
        os.replace(part, output)

    def _reader(self, lines: Lines) -> Iterator[list[str]]:
        # A quoted cell may have line breaks: the reader takes lines as it needs them.
        texts = (line.decode("utf-8", "surrogateescape") for line in lines)
        return csv.reader(texts, delimiter=self._delimiter)

    def _values(self, rows: list[list[str]], tensor: Tensor) -> list[Any]:
        place = self._places[tensor.name]
        texts = [row[place] for row in rows]
        try:
            "".join(texts).encode()
        except UnicodeEncodeError:
            raise InvalidInput("expected UTF-8", tensor.name) from None
        return [read(tensor, text) for text in texts]

    def _written(self, rows: list[list[str]]) -> bytes:
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=self._delimiter, lineterminator="\n").writerows(rows)
        return text.getvalue().encode("utf-8", "surrogateescape")


class JsonLinesTable:
    """An object a line; what is written is the line as it was, and the new names."""

    def __init__(self, path: Path) -> None:
        self._path, self.total = path, path.stat().st_size

    def columns(self) -> None:
        return None

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        lines = Lines(self._path, start)
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

    def inputs(self, rows: Any, plan: Plan) -> dict[str, list[Any]]:
        objects = [_object(line, i, plan) for i, line in enumerate(rows)]
        return {t.name: [one[t.name] for one in objects] for t in plan.inputs}

    def header(self, plan: Plan) -> bytes:
        return b""

    def encoded(self, rows: Any, answers: Sequence[Answer | None], plan: Plan) -> bytes:
        written = []
        for line, answer in zip(rows, answers, strict=True):
            if answer is None:
                continue
            found = dict(zip(plan.names, outputs(answer, plan.contract), strict=True))
            before = line[:-1].rstrip()
            comma = b"" if before.endswith(b"{") else b","
            written.append(before + comma + orjson.dumps(found)[1:] + b"\n")
        return b"".join(written)

    def finish(self, part: Path, output: Path) -> None:
        os.replace(part, output)


def _object(line: bytes, row: int, plan: Plan) -> dict[str, Any]:
    try:
        found = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInput(f"malformed JSON: {error}", row=row) from None
    if not isinstance(found, dict):
        raise InvalidInput("expected a JSON object", row=row)
    for tensor in plan.inputs:
        if tensor.name not in found:
            raise InvalidInput("missing", tensor.name, row)
    for name in plan.names:
        if name in found:
            raise InvalidInput(f"has {name!r} already; see --prefix", row=row)
    return found


def _cell(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
