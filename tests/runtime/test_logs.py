import logging

import pytest

from gomlx.runtime.logs import RepeatFilter


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
