"""The files in which worker slots share their counts."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gomlx.metrics.tally import ALL, Sums, Tally, minute, read_all

KEY = ("requests", "m", "200")
STATE = ("gomlx_tier_state", "s", "near")


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 6000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_this_minute_and_the_one_before_are_kept(tmp_path: Path, clock: Clock) -> None:
    tally = Tally(tmp_path, 0, clock)
    for seconds, n in ((6000, 1), (6059.9, 2), (6060, 4), (6120, 8)):
        clock.now = seconds
        tally.add(KEY, Sums(n))
        tally.write()
    expected = {ALL: Sums(15), 101: Sums(4), 102: Sums(8)}
    assert read_all(tmp_path).series == {KEY: expected}
    assert minute(clock.now) == 102


def test_slots_are_summed_by_minute(tmp_path: Path, clock: Clock) -> None:
    for slot, sums in enumerate((Sums(1, 0.5, 0.5, 0.5), Sums(2, 5.0, 1.0, 4.0))):
        tally = Tally(tmp_path, slot, clock)
        tally.add(KEY, sums)
        tally.write()
    both = Sums(3, 5.5, 0.5, 4.0)
    assert read_all(tmp_path).series == {KEY: {ALL: both, 100: both}}


def test_the_next_worker_of_a_slot_counts_on(tmp_path: Path, clock: Clock) -> None:
    for _ in range(3):
        tally = Tally(tmp_path, 0, clock)
        tally.add(KEY, Sums(1))
        tally.write()
    assert read_all(tmp_path).series[KEY][ALL].n == 3
    assert len(list(tmp_path.iterdir())) == 1


def test_a_worker_killed_while_writing_loses_only_its_last_write(
    tmp_path: Path, clock: Clock
) -> None:
    tally = Tally(tmp_path, 0, clock)
    tally.add(KEY, Sums(1))
    tally.write()
    (tmp_path / "tally_0.new").write_bytes(b"\x81")  # the beginning of a file
    assert read_all(tmp_path).series[KEY][ALL].n == 1
    tally = Tally(tmp_path, 0, clock)
    tally.add(KEY, Sums(1))
    tally.write()
    assert read_all(tmp_path).series[KEY][ALL].n == 2


def test_a_failed_write_is_logged_once_and_retried(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "metrics"
    tally = Tally(folder, 0, clock)
    tally.add(KEY, Sums(1))
    tally.write()
    tally.write()
    assert len(caplog.records) == 1
    folder.mkdir()
    tally.write()
    assert read_all(folder).series[KEY][ALL].n == 1


def test_buckets_and_gauges_are_joined(tmp_path: Path, clock: Clock) -> None:
    for slot, value in enumerate((2.0, 1.0)):
        tally = Tally(tmp_path, slot, clock)
        for _ in range(2):
            tally.add(KEY, Sums(3, 3.0, 1.0, 1.0), [2, 0, 1])
        tally.set(STATE, value)
        tally.set(("gomlx_queue_rows", "m"), value)
        tally.write()
    counts = read_all(tmp_path)
    assert counts.buckets == {KEY: [8, 0, 4]}
    assert counts.series[KEY][ALL] == Sums(12, 12.0, 1.0, 1.0)
    assert counts.gauges == {STATE: 2.0, ("gomlx_queue_rows", "m"): 3.0}
    assert counts.workers == {0: os.getpid(), 1: os.getpid()}


def test_how_the_worker_before_has_ended_is_known(tmp_path: Path, clock: Clock) -> None:
    def begin(ends: bool) -> str:
        tally = Tally(tmp_path, 0, clock)
        tally.add(KEY, Sums(1))
        tally.set(STATE, 2.0)
        if ends:
            tally.end()
        tally.write()
        return tally.predecessor

    assert begin(ends=True) == ""
    assert read_all(tmp_path).gauges == {}
    assert begin(ends=False) == "ended"
    assert begin(ends=True) == "died"
    assert read_all(tmp_path).workers == {}


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def of_another_form(path: Path) -> None:
    path.write_bytes(b"\x80")


def changed(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


DAMAGES = [emptied, cut, of_another_form, changed]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_discarded(
    tmp_path: Path,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
) -> None:
    for slot in (0, 1):
        tally = Tally(tmp_path, slot, clock)
        tally.add(KEY, Sums(1 + slot))
        tally.write()
    damage(tmp_path / "tally_0.msgpack")
    assert read_all(tmp_path).series[KEY][ALL].n == 2
    assert read_all(tmp_path).series[KEY][ALL].n == 2
    assert [str(tmp_path / "tally_0.msgpack") in r.message for r in caplog.records] == [
        True
    ]


def test_the_next_worker_of_a_slot_with_a_damaged_file_begins_anew(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    emptied(tmp_path / "tally_0.msgpack")
    tally = Tally(tmp_path, 0, clock)
    tally.add(KEY, Sums(1))
    tally.write()
    assert read_all(tmp_path).series[KEY][ALL].n == 1
    assert len(caplog.records) == 1


def test_a_file_that_is_gone_is_written_again(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "metrics"
    folder.mkdir()
    tally = Tally(folder, 0, clock)
    tally.add(KEY, Sums(1))
    tally.write()
    shutil.rmtree(folder)
    folder.mkdir()
    tally.write()
    assert read_all(folder).series[KEY][ALL].n == 1


def test_a_gauge_that_says_yes_or_no_is_read_back(tmp_path: Path, clock: Clock) -> None:
    tally = Tally(tmp_path, 0, clock)
    tally.set(("skipped", "m"), True)
    tally.write()
    assert read_all(tmp_path).gauges == {("skipped", "m"): 1.0}
