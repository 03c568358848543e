"""A window keeps the order of a stream's lines, and bounds what they hold."""

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from gomlx.server.predict.request import PendingRequest
from gomlx.server.routes.window import StreamWindow


@dataclass
class Pending:
    """What a window needs of a pending request: how many rows it has."""

    rows: int
    answers: list[None] = field(init=False)

    def __post_init__(self) -> None:
        self.answers = [None] * self.rows


def pending(rows: int) -> PendingRequest:
    return cast(PendingRequest, Pending(rows))


def test_answers_are_drained_in_the_order_of_their_lines() -> None:
    window = StreamWindow(10, 100)
    first, second, third = (window.open(1) for _ in range(3))
    window.complete(second, b"2")
    assert window.drain() == b""
    window.complete(first, b"1")
    assert window.drain() == b"12"
    window.complete(third, b"3")
    assert window.drain() == b"3"
    assert not len(window)


def test_rows_count_until_their_answers_are_drained() -> None:
    window = StreamWindow(3, 100)
    line = window.open(1)
    window.submitted(line, pending(2))
    assert window.has_rows
    assert not window.is_full()
    other = window.open(1)
    window.submitted(other, None)  # answered at once: one row
    assert window.is_full()
    window.complete(line, b"1")
    assert window.is_full()
    window.drain()
    assert not window.is_full()
    window.complete(other, b"2")
    window.drain()
    assert not window.has_rows


def test_bytes_of_lines_and_of_answers_count() -> None:
    window = StreamWindow(10, 100)
    line = window.open(60)
    assert not window.is_full()
    window.complete(line, b"x" * 40)
    assert window.is_full()
    window.drain()
    assert not window.is_full()


def test_clear_yields_the_requests_that_still_wait() -> None:
    window = StreamWindow(10, 100)
    waiting = pending(1)
    answered = pending(1)
    window.submitted(window.open(1), waiting)
    line = window.open(1)
    window.submitted(line, answered)
    window.complete(line, b"1")
    window.submitted(window.open(1), None)
    assert [*window.clear()] == [waiting]
    assert not len(window)


@pytest.mark.asyncio
async def test_who_waits_is_woken() -> None:
    window = StreamWindow(10, 100)
    for wait, wake in (
        (window.wait_until_drained, window.drain),
        (window.wait_until_completed, window.notify),
    ):
        waiting = asyncio.create_task(wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        wake()
        await asyncio.wait_for(waiting, 30)
