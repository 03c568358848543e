"""Tables: files of rows that are read in chunks and written back with new columns.

A table's chunks are slices of its own kind (lists of cells or lines, an Arrow batch),
so that the columns of the input come out as they went in. `inputs` returns the values
of a chunk that the model gets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from gomlx.cli.values import answer_columns
from gomlx.client.answer import Answer
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Tensor
from gomlx.errors import GomlxError


@dataclass(frozen=True)
class Position:
    """How far a file has been read.

    rows is a number of rows; offset is in the unit of the table's `total`; digest is
    that of the part of the file that was read, in hex.
    """

    rows: int = 0
    offset: int = 0
    digest: str = ""


START = Position()


class Chunk(NamedTuple):
    """Consecutive rows, which can be sliced, and the position after them."""

    rows: Any
    end: Position


@dataclass(frozen=True)
class Columns:
    """Which inputs a file's columns give, and the names of the new columns.

    prefix is put before the names of the outputs.
    """

    contract: Contract
    inputs: tuple[Tensor, ...]
    prefix: str

    @property
    def new(self) -> list[str]:
        """The names of the columns that the answers become."""
        return [self.prefix + name for name in answer_columns(self.contract)]


class RowTable(Protocol):
    """A file of rows. total is its size, in the unit of `Position.offset`."""

    total: int

    def names(self) -> Sequence[str] | None:
        """Return the names of the file's columns; None if each row has its own."""

    def chunks(self, start: Position, size: int) -> Iterator[Chunk]:
        """Yield the rows after a position, size at a time.

        Raises InputChanged if the part before the position is not what it was.
        """

    def inputs(self, rows: Any, columns: Columns) -> dict[str, list[Any]]:
        """Return a column of values for each of columns.inputs. Raises InvalidInput."""

    def header(self, columns: Columns) -> bytes:
        """Return what comes before all rows of the output."""

    def encode(
        self, rows: Any, answers: Sequence[Answer | None], columns: Columns
    ) -> bytes:
        """Return the rows that have an answer, with it."""

    def finish(self, part: Path, output: Path) -> None:
        """Turn the encoded rows in part into the output file, atomically."""


class InputChanged(GomlxError):
    """The part of a file that an earlier run has answered has changed since."""
