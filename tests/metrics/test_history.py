"""The last minutes of what was counted, in a file."""

from pathlib import Path

import pytest

from gomlx.metrics.history import POINTS, RecentPoints


def test_it_keeps_the_newest_lines_for_whoever_reads(tmp_path: Path) -> None:
    written = RecentPoints(tmp_path)
    assert written.lines() == []
    lines = [b"%d" % n for n in range(POINTS + 5)]
    for line in lines[:-1]:
        written.add(line)
    RecentPoints(tmp_path).add(lines[-1])  # by the worker that took its place
    assert RecentPoints(tmp_path).lines() == lines[5:]


def test_where_there_is_no_room_older_lines_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    points = RecentPoints(tmp_path)
    points.add(b"1")
    blocked = tmp_path / "history.new"
    blocked.mkdir()
    points.add(b"2")
    points.add(b"3")
    assert points.lines() == [b"1"]
    assert len(caplog.records) == 1
    blocked.rmdir()
    points.add(b"4")
    assert points.lines() == [b"1", b"4"]
