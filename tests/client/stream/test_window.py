"""The window of a stream: when rows are requested, and the order of the outcomes."""

from concurrent.futures import Future
from typing import Any

import pytest

from gomlx import Answer
from gomlx.client.answer import RowOutcome
from gomlx.client.stream.window import ReadAhead, StreamOptions
from gomlx.errors import InvalidInput, NoHost

KNOWN = Answer({"y": "kept"})


class Streaming:
    """A window whose batches wait until a test answers them; row 0 is kept locally."""

    def __init__(self, size: int = 8, errors: str = "raise") -> None:
        self.batches: list[list[Any]] = []
        self.pending: list[Future[list[RowOutcome]]] = []
        self.window = ReadAhead(
            lambda row: KNOWN if row["x"] == 0 else None,
            self.submit,
            StreamOptions(size, errors),
        )

    def submit(self, rows: list[Any]) -> Future[list[RowOutcome]]:
        self.batches.append(rows)
        self.pending.append(Future())
        return self.pending[-1]

    def add(self, *xs: int) -> None:
        for x in xs:
            self.window.add({"x": x})

    def answer(self, batch: int, *errors: Exception) -> None:
        outcomes = [Answer({"y": 2 * row["x"]}) for row in self.batches[batch]]
        self.pending[batch].set_result([*outcomes[len(errors) :], *errors])  # type: ignore[list-item]

    @property
    def requested(self) -> list[list[int]]:
        return [[row["x"] for row in batch] for batch in self.batches]


def test_a_known_row_is_not_requested() -> None:
    streaming = Streaming()
    streaming.add(0)
    assert streaming.window.head() is None
    assert streaming.window.pop() is KNOWN
    assert not streaming.window
    assert streaming.batches == []


def test_the_first_row_is_requested_at_once_and_full_batches_after_it() -> None:
    streaming = Streaming(size=8)  # batches of 2
    streaming.add(1, 2, 0, 3, 4)
    assert streaming.requested == [[1], [2, 3]]
    streaming.answer(0)
    assert streaming.window.pop() == {"y": 2}
    streaming.answer(1)
    streaming.window.head()
    assert streaming.requested == [[1], [2, 3], [4]]
    assert [streaming.window.pop() for _ in range(3)] == [{"y": 4}, KNOWN, {"y": 6}]
    assert streaming.window.head() is streaming.pending[2]
    streaming.answer(2)
    assert streaming.window.head() is None
    assert streaming.window.pop() == {"y": 8}


def test_flush_requests_what_waits_for_more_rows() -> None:
    streaming = Streaming(size=100)
    streaming.add(1, 2, 3)
    streaming.window.flush()
    assert streaming.requested == [[1], [2, 3]]


def test_room_is_counted_in_rows() -> None:
    streaming = Streaming(size=3)
    streaming.add(0, 1)
    assert streaming.window.has_room
    streaming.add(2)
    assert not streaming.window.has_room
    streaming.window.pop()
    assert streaming.window.has_room


def test_a_mapping_may_be_used_again_by_its_iterator() -> None:
    streaming = Streaming()
    row = {"x": 1}
    streaming.window.add(row)
    row["x"] = 2
    assert streaming.requested == [[1]]


@pytest.mark.parametrize("errors", ["raise", "return"])
def test_the_error_of_a_row_is_raised_or_returned(errors: str) -> None:
    streaming = Streaming(errors=errors)
    streaming.add(1)
    streaming.answer(0, InvalidInput("no"))
    if errors == "return":
        assert isinstance(streaming.window.pop(), InvalidInput)
    else:
        with pytest.raises(InvalidInput):
            streaming.window.pop()


def test_an_error_of_the_service_is_always_raised() -> None:
    streaming = Streaming(errors="return")
    streaming.add(1)
    streaming.answer(0, NoHost("none"))
    with pytest.raises(NoHost):
        streaming.window.pop()


def test_closing_cancels_what_is_under_way() -> None:
    streaming = Streaming(size=100)
    streaming.add(1, 2)
    streaming.window.close()
    assert streaming.pending[0].cancelled()
    streaming.window.flush()
    assert streaming.requested == [[1]]
