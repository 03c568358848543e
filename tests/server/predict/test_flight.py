"""One computation for all who wait: cached, and everyone gets its outcome."""

from time import perf_counter
from typing import Any

import pytest

from gomlx.errors import RunFailed
from gomlx.server.predict.flight import FlightJob, Flights
from gomlx.server.predict.policy import CachePolicy
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


class Flown:
    """A flight that two requests have joined."""

    def __init__(self, policy: CachePolicy) -> None:
        live = live_version(FakeBatcher())
        self.owner = FakeOwner()
        self.pending = [pending_of(live, PARSED, owner=self.owner) for _ in range(2)]
        flights = Flights()
        waiting = flights.join(KEY, self.pending[0], 0)
        assert waiting is not None
        assert flights.join(KEY, self.pending[1], 0) is None
        self.job = FlightJob(flights, live, policy, KEY, waiting)


def test_an_answer_is_cached_and_goes_to_all() -> None:
    cache: Any = FakeCache()
    flown = Flown(CachePolicy(cache))
    flown.job.complete(ANSWER)
    assert cache.answers == {KEY: ANSWER}
    assert flown.owner.endings == [None, None]


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
