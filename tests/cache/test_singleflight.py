"""One running computation per key."""

from functools import partial

import pytest

from gomlx.cache.singleflight import SingleFlight


@pytest.fixture
def flights() -> SingleFlight[str, int]:
    return SingleFlight()


def test_only_the_first_to_join_starts_a_flight(
    flights: SingleFlight[str, int],
) -> None:
    told: list[int] = []
    assert flights.join("k", told.append)
    assert not flights.join("k", told.append)
    assert len(flights) == 1
    assert told == []


def test_landing_tells_everyone_in_order(flights: SingleFlight[str, int]) -> None:
    told: list[tuple[str, int]] = []
    for who in ("first", "second", "third"):
        flights.join(
            "k", partial(lambda who, outcome: told.append((who, outcome)), who)
        )
    flights.land("k", 7)
    assert told == [("first", 7), ("second", 7), ("third", 7)]
    assert len(flights) == 0


def test_keys_fly_apart(flights: SingleFlight[str, int]) -> None:
    first: list[int] = []
    second: list[int] = []
    assert flights.join("a", first.append)
    assert flights.join("b", second.append)
    flights.land("b", 2)
    assert (first, second) == ([], [2])
    assert len(flights) == 1


def test_after_landing_the_next_starts_a_flight(
    flights: SingleFlight[str, int],
) -> None:
    told: list[int] = []
    flights.join("k", told.append)
    flights.land("k", 1)
    assert flights.join("k", told.append)
    flights.land("k", 2)
    assert told == [1, 2]


def test_one_who_asks_again_while_being_told_flies_anew(
    flights: SingleFlight[str, int],
) -> None:
    again: list[int] = []
    started: list[bool] = []
    bystander: list[int] = []
    flights.join("k", lambda _: started.append(flights.join("k", again.append)))
    flights.join("k", bystander.append)
    flights.land("k", 1)
    assert started == [True]
    assert (bystander, again) == ([1], [])
    flights.land("k", 2)
    assert (bystander, again) == ([1], [2])
