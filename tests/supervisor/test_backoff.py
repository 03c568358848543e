"""Delays double up to the last one, and begin again after a success."""

from gomlx.supervisor.backoff import Backoff


def test_delays_double_up_to_the_last() -> None:
    backoff = Backoff(30.0, 100.0)
    assert [backoff.next() for _ in range(4)] == [30.0, 60.0, 100.0, 100.0]


def test_a_success_resets_the_delay() -> None:
    backoff = Backoff(0.5, 30.0)
    backoff.next()
    backoff.next()
    backoff.reset()
    assert backoff.next() == 0.5
