"""One computation for all who wait: cached, and everyone gets its outcome."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import pytest

from gomlx.cache.tier import Hit
from gomlx.errors import GomlxError, RunFailed
from gomlx.server.predict.flight import Flight, Flights
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.request import PendingRequest
from tests.server.predict.fakes import (
    ANSWER,
    FakeBatcher,
    FakeCache,
    FakeOwner,
    live_version,
    parsed_of,
    pending_of,
)

PARSED = parsed_of(1)
(KEY,) = PARSED.keys


class FakeCoalescer:
    def __init__(self) -> None:
        self.released: list[bytes] = []

    def release(self, key: bytes) -> None:
        self.released.append(key)


class InOrder(FakeOwner):
    """Remembers which requests ended, and does something at each end."""

    def __init__(self) -> None:
        super().__init__()
        self.ended_ones: list[PendingRequest] = []
        self.then: Callable[[], object] = lambda: None

    def ended(self, pending: PendingRequest, error: GomlxError | None) -> None:
        self.ended_ones.append(pending)
        self.then()


class Flown:
    """A flight that two requests have joined."""

    def __init__(self, policy: CachePolicy, owner: FakeOwner | None = None) -> None:
        live = live_version(FakeBatcher())
        self.owner = owner or FakeOwner()
        self.pending = [pending_of(live, PARSED, owner=self.owner) for _ in range(2)]
        self.flights: Flights = {}
        self.job = Flight(self.flights, KEY, policy, self.pending[0], 0)
        self.job.waiting.append((self.pending[1], 0))


def test_an_answer_is_cached_and_goes_to_all() -> None:
    cache: Any = FakeCache()
    flown = Flown(CachePolicy(cache))
    flown.job.complete(ANSWER)
    assert cache.answers == {KEY: ANSWER}
    assert flown.owner.endings == [None, None]
    assert not flown.flights


def test_all_get_the_outcome_in_the_order_in_which_they_have_joined() -> None:
    cache: Any = FakeCache()
    owner = InOrder()
    flown = Flown(CachePolicy(cache), owner)
    flown.job.complete(Hit(ANSWER, "L2"))
    assert not cache.answers  # it was in a tier
    assert owner.ended_ones == flown.pending


def test_who_joins_again_at_once_begins_a_new_flight() -> None:
    cache: Any = FakeCache()
    policy = CachePolicy(cache)
    owner = InOrder()
    flown = Flown(policy, owner)
    again = pending_of(flown.pending[0].live, PARSED)
    owner.then = lambda: (
        owner.ended_ones[1:] or Flight(flown.flights, KEY, policy, again, 0)
    )
    flown.job.complete(ANSWER)
    assert owner.ended_ones == flown.pending
    assert again.missing == 1
    flown.flights[KEY].complete(ANSWER)
    assert again.missing == 0


def test_an_error_is_not_cached_and_lets_other_processes_try() -> None:
    cache: Any = FakeCache()
    coalescer: Any = FakeCoalescer()
    flown = Flown(CachePolicy(cache, coalescer))
    error = RunFailed("thirteen")
    flown.job.complete(error)
    assert not cache.answers
    assert coalescer.released == [KEY]
    assert flown.owner.endings == [error, error]


def test_all_get_the_answer_even_if_caching_fails() -> None:
    class Broken(FakeCache):
        def set(self, *_: object) -> None:
            raise ZeroDivisionError

    cache: Any = Broken()
    flown = Flown(CachePolicy(cache))
    with pytest.raises(ZeroDivisionError):
        flown.job.complete(ANSWER)
    assert flown.owner.endings == [None, None]


def test_it_is_awaited_while_one_request_waits() -> None:
    cache: Any = FakeCache()
    flown = Flown(CachePolicy(cache))
    now = perf_counter()
    first, second = flown.pending
    assert flown.job.is_awaited(now)
    first.abandon()
    assert flown.job.is_awaited(now)
    assert not flown.job.is_awaited(second.deadline)
    second.abandon()
    assert not flown.job.is_awaited(now)
