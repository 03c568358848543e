"""The heartbeat of a worker, and what it does about an event loop that hangs."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from gomlx.server.process.heartbeat import Heartbeat


class Ends:
    """What a heartbeat notifies, and whether it has ended the process."""

    def __init__(self, timeout_seconds: float) -> None:
        self.notified = 0
        self.ended = threading.Event()
        self.heartbeat = Heartbeat(self._notify, timeout_seconds, self.ended.set)

    def _notify(self) -> None:
        self.notified += 1


@pytest.fixture
def ends() -> Iterator[Ends]:
    one = Ends(1.0)
    yield one
    one.heartbeat.stop()


def a_loop_that_hangs(ended: threading.Event) -> None:
    assert ended.wait(60)


def test_a_loop_that_hangs_ends_the_process(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    ends.heartbeat.start()
    a_loop_that_hangs(ends.ended)
    assert ends.notified > 1
    (where, last) = [r.getMessage() for r in caplog.records if r.levelno > logging.INFO]
    assert "a_loop_that_hangs(ends.ended)" in where
    assert last == "the event loop has not run for 1 s: replaced"


def test_a_loop_that_runs_is_let_be(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    ends.heartbeat.start()
    while ends.notified < 8:  # for longer than the timeout
        ends.heartbeat.beat()
        time.sleep(0.01)
    assert not ends.ended.is_set()
    assert not caplog.records


def test_nothing_is_notified_after_the_stop(ends: Ends) -> None:
    ends.heartbeat.start()
    ends.heartbeat.stop()
    for thread in threading.enumerate():
        if thread.name == "heartbeat":
            thread.join(30)
    assert ends.notified <= 1
    assert not ends.ended.is_set()
