"""Every request without an answer is counted, by model and status."""

from gomlx.errors import InvalidInput, Overloaded
from gomlx.server.predict.counts import ModelCounts, RefusalCounts
from tests.server.conftest import Counts


def test_refusals_are_counted_by_status() -> None:
    counts = Counts()
    refusals = RefusalCounts(counts, "m")
    assert not counts.counts  # no series before there is something to count
    reply = refusals.refusal(InvalidInput("wrong"), 0.25)
    assert reply.status == 400
    assert counts.counter("gomlx_requests", "m", "400").n == 1
    assert counts.histogram("gomlx_refusal_seconds", "m").sums.total == 0.25


def test_one_error_for_many_requests_has_one_reply_and_many_counts() -> None:
    counts = Counts()
    refusals = RefusalCounts(counts, "m")
    error = Overloaded("m", 5)
    first = refusals.refusal(error, 0.25)
    assert refusals.refusal(error, 0.25) is first
    assert refusals.refusal(Overloaded("m", 6), 0.25).body != first.body
    assert counts.counter("gomlx_requests", "m", "429").n == 3


def test_an_abandoned_request_is_a_canceled_one_with_a_time() -> None:
    counts = Counts()
    refusals = RefusalCounts(counts, "m")
    refusals.abandoned(0.5)
    refusals.canceled()
    assert counts.counter("gomlx_requests", "m", "499").n == 1
    assert counts.counter("gomlx_requests_canceled", "m").n == 2
    assert counts.histogram("gomlx_refusal_seconds", "m").sums.total == 0.5


def test_the_series_of_a_model_exist_from_the_start() -> None:
    counts = Counts()
    ModelCounts(counts, "m")
    assert counts.counts.keys() == {
        ("gomlx_requests", "m", "200"),
        ("gomlx_flights_collapsed", "m"),
    }
