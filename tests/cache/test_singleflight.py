"""One running computation per key."""

from collections.abc import Callable
from functools import partial

import pytest

from gomlx.cache.singleflight import SingleFlight


class Waiter:
    """Records the outcomes that it receives, and then runs `then`."""

    def __init__(self) -> None:
        self.deadline = 1.0
        self.received: list[tuple[int, int]] = []
        self.then: Callable[[], object] = lambda: None

    def complete(self, place: int, outcome: int) -> None:
        self.received.append((place, outcome))
        self.then()


@pytest.fixture
def flights() -> SingleFlight[str, int]:
    return SingleFlight()


def test_only_the_first_to_join_starts_a_flight(
    flights: SingleFlight[str, int],
) -> None:
    waiter = Waiter()
    assert "k" not in flights
    assert flights.join("k", waiter, 0)
    assert not flights.join("k", waiter, 1)
    assert "k" in flights
    assert len(flights) == 1
    assert waiter.received == []


def test_all_who_joined_get_the_outcome_in_order(
    flights: SingleFlight[str, int],
) -> None:
    order: list[int] = []
    for n in range(3):
        waiter = Waiter()
        waiter.then = partial(order.append, n)
        flights.join("k", waiter, n)
    same = Waiter()
    flights.join("k", same, 5)
    flights.join("k", same, 3)
    flights.complete("k", 7)
    assert order == [0, 1, 2]
    assert same.received == [(5, 7), (3, 7)]
    assert len(flights) == 0


def test_each_key_has_its_own_flight(flights: SingleFlight[str, int]) -> None:
    first = Waiter()
    second = Waiter()
    assert flights.join("a", first, 0)
    assert flights.join("b", second, 0)
    flights.complete("b", 2)
    assert (first.received, second.received) == ([], [(0, 2)])
    assert len(flights) == 1


def test_after_the_outcome_the_next_starts_a_flight(
    flights: SingleFlight[str, int],
) -> None:
    waiter = Waiter()
    for outcome in (1, 2):
        assert flights.join("k", waiter, 0)
        flights.complete("k", outcome)
    assert waiter.received == [(0, 1), (0, 2)]


def test_a_waiter_that_joins_again_at_once_gets_a_new_flight(
    flights: SingleFlight[str, int],
) -> None:
    eager = Waiter()
    again = Waiter()
    bystander = Waiter()
    started: list[bool] = []
    eager.then = lambda: started.append(flights.join("k", again, 0) is not None)
    flights.join("k", eager, 0)
    flights.join("k", bystander, 0)
    flights.complete("k", 1)
    assert started == [True]
    assert (bystander.received, again.received) == ([(0, 1)], [])
    flights.complete("k", 2)
    assert (bystander.received, again.received) == ([(0, 1)], [(0, 2)])


def test_waiters_are_seen_as_they_join(flights: SingleFlight[str, int]) -> None:
    first = Waiter()
    second = Waiter()
    flights.join("k", first, 0)
    waiting = flights["k"]
    flights.join("k", second, 1)
    assert list(waiting) == [(first, 0), (second, 1)]
