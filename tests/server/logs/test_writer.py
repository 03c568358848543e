"""A queue that is bounded, whatever the disk does."""

import threading
from collections import defaultdict
from collections.abc import Iterator

import pytest

from gomlx.metrics.instruments import Counter
from gomlx.server.logs.writer import LineCounts, LineWriter


class GatedSink:
    """Takes lines while its gate is open; fails with an error, if it has one."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = threading.Event()
        self.lines: list[bytes] = []
        self.error: OSError | None = None

    def write(self, lines: bytes) -> None:
        self.entered.set()
        assert self.gate.wait(30)
        if self.error:
            raise self.error
        self.lines += lines.splitlines()


@pytest.fixture
def sink() -> Iterator[GatedSink]:
    sink = GatedSink()
    yield sink
    sink.gate.set()


class Counted:
    """The counters of one log."""

    def __init__(self) -> None:
        self._counters = defaultdict[str, Counter](Counter)
        self.counts = LineCounts(self._counters.__getitem__)

    def by_outcome(self) -> dict[str, int]:
        self.counts.tick()
        return {outcome: one.n for outcome, one in self._counters.items() if one.n}


def test_lines_are_written_in_order_and_counted(sink: GatedSink) -> None:
    sink.gate.set()
    writer = LineWriter(sink)
    counted = Counted()
    for n in range(1000):
        writer.put(lambda n=n: [b"%d\n" % n], 10, counted.counts)  # type: ignore[misc]
    writer.close()
    assert sink.lines == [b"%d" % n for n in range(1000)]
    assert counted.by_outcome() == {"written": 1000}


def test_what_a_slow_disk_does_not_take_is_dropped(sink: GatedSink) -> None:
    writer = LineWriter(sink, most_bytes=110)
    counted = Counted()
    writer.put(lambda: [b"first\n"], 10, counted.counts)
    assert sink.entered.wait(30)  # and waits
    for _ in range(25):
        writer.put(lambda: [b"later\n"], 10, counted.counts)
    writer.put(lambda: [b"large\n"], 1000, counted.counts)
    assert counted.by_outcome() == {"dropped": 16}
    sink.gate.set()
    writer.close()
    assert counted.by_outcome() == {"dropped": 16, "written": 11}


def test_bytes_are_bounded_and_free_again(sink: GatedSink) -> None:
    writer = LineWriter(sink, most_bytes=1000)
    counted = Counted()
    writer.put(lambda: [b"a\n"], 900, counted.counts)
    writer.put(lambda: [b"b\n"], 200, counted.counts)
    sink.gate.set()
    writer.close()
    assert counted.by_outcome() == {"dropped": 1, "written": 1}


def test_a_full_disk_costs_lines_and_is_said_once(
    sink: GatedSink, caplog: pytest.LogCaptureFixture
) -> None:
    sink.gate.set()
    sink.error = OSError(28, "No space left on device")
    writer = LineWriter(sink)
    counted = Counted()
    for _ in range(600):  # more than are written at once
        writer.put(lambda: [b"a\n", b"b\n"], 10, counted.counts)
    writer.close()
    assert counted.by_outcome() == {"failed": 1200}
    assert len([r for r in caplog.records if "No space left" in r.message]) == 1


def test_a_bug_of_one_line_is_not_anothers(sink: GatedSink) -> None:
    sink.gate.set()
    writer = LineWriter(sink)
    counted = Counted()
    writer.put(lambda: [bytes(1 // 0)], 10, counted.counts)
    writer.put(lambda: [b"fine\n"], 10, counted.counts)
    writer.close()
    assert sink.lines == [b"fine"]
