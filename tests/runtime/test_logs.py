import json
import logging
import sys
from typing import Any

import pytest

from gomlx.runtime.logs import MOST_BYTES, JsonFormatter, RepeatFilter


class Log:
    """What passes the filter, by a clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0
        self._filter = RepeatFilter(lambda: self.now)

    def passed(
        self, message: str, *args: object, name: str = "gomlx.x", level: int = 40
    ) -> str | None:
        record = logging.LogRecord(name, level, "file.py", 7, message, args, None)
        return record.getMessage() if self._filter.filter(record) else None


@pytest.fixture
def log() -> Log:
    return Log()


def test_one_line_a_second_of_a_kind_passes_and_counts_the_others(log: Log) -> None:
    assert log.passed("model %s: a bug", "m") == "model m: a bug"
    assert [log.passed("model %s: a bug", "m") for _ in range(3)] == [None] * 3
    log.now += 1.0
    assert log.passed("model %s: a bug", "m") == "model m: a bug (and 3 more like it)"
    log.now += 1.0
    assert log.passed("model %s: a bug", "m") == "model m: a bug"


def test_different_messages_of_ours_are_of_different_kinds(log: Log) -> None:
    assert log.passed("model %s: a bug", "m")
    assert log.passed("model %s: a bug", "n")


def test_messages_of_libraries_are_of_one_kind_wherever_they_come_from(
    log: Log,
) -> None:
    """They may contain addresses of objects, which differ each time."""
    assert log.passed("Fatal error on transport %s", 1, name="asyncio")
    assert log.passed("Fatal error on transport %s", 2, name="asyncio") is None


def test_information_always_passes(log: Log) -> None:
    assert all(log.passed("loaded", level=20) for _ in range(3))


def test_the_kinds_are_bounded(log: Log) -> None:
    """However many there are; one that was dropped is then counted anew."""
    for n in range(3000):
        assert log.passed("error %d", n)
    assert len(log._filter._passed_at) <= 1000


def as_json(message: str, *args: object, **fields: Any) -> dict[str, Any]:
    record = logging.LogRecord("gomlx.x", 30, "file.py", 7, message, args, None)
    record.__dict__.update(fields)
    line = JsonFormatter().format(record)
    assert len(line.encode(errors="replace")) < MOST_BYTES
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    return found


def test_a_record_as_json() -> None:
    assert as_json("model %s:\n a bug", "é", created=1795907639.25, process=7) == {
        "time": "2026-11-28T23:13:59.250000Z",
        "level": "warning",
        "logger": "gomlx.x",
        "pid": 7,
        "message": "model é:\n a bug",
    }


def failure() -> Any:
    try:
        raise ValueError("wrong " * 10)
    except ValueError:
        return sys.exc_info()


def test_an_exception_is_a_field() -> None:
    found = as_json("a bug", exc_info=failure())
    assert found["message"] == "a bug"
    first, *_, last = found["exception"].splitlines()
    assert first == "Traceback (most recent call last):"
    assert last == "ValueError: " + "wrong " * 10


@pytest.mark.parametrize("text", ["a", "é", '"', "\ud800"])
def test_long_texts_lose_their_middle(text: str) -> None:
    """So that lines of several processes do not mix in a pipe."""
    message = f"first{text * 10_000}last"
    found = as_json(message, exc_info=failure())
    assert found["message"].startswith("first")
    assert found["message"].endswith("last")
    assert found["exception"].startswith("Traceback")
