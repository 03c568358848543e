"""The lines of logs of rows, as a service writes them (`log` of a model)."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson


class LoggedRow(NamedTuple):
    """A row that was answered, or rows that were answered together.

    at: when, in seconds since the epoch. model: its id, with :SIGNATURE for a further
    one. row, answer: as JSON has them; with batch_size lists, of one element a row.
    """

    at: float
    model: str
    version: str
    row: dict[str, Any]
    answer: Any


@dataclass
class LineCount:
    """What was read. others: lines that are no rows, or were cut by a crash."""

    read_bytes: int = 0
    others: int = 0


def rows_in(files: Sequence[Path], count: LineCount) -> Iterator[LoggedRow]:
    """Yield the rows of several files, which several workers wrote, by time.

    Raises OSError.
    """
    yield from heapq.merge(*(_rows(file, count) for file in files), key=_time)


def _time(row: LoggedRow) -> float:
    return row.at


def _rows(file: Path, count: LineCount) -> Iterator[LoggedRow]:
    with file.open("rb") as lines:
        for line in lines:
            count.read_bytes += len(line)
            row = parsed(line)
            if row is None:
                count.others += 1
            else:
                yield row


def parsed(line: bytes) -> LoggedRow | None:
    """Return the row of a line; None: it has none."""
    try:
        found = orjson.loads(line)
        if found["logger"] != "rows" or not isinstance(found["row"], dict):
            return None
        at = datetime.fromisoformat(found["time"]).timestamp()
        return LoggedRow(
            at, found["model"], found["version"], found["row"], found["answer"]
        )
    except (KeyError, TypeError, ValueError):
        return None
