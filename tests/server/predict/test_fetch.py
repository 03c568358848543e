"""Rows are fetched from elsewhere first; those that are nowhere are computed."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from gomlx.errors import DeadlineExceeded, Overloaded
from gomlx.server.predict.fetch import Fetch, FetchedRows
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

pytestmark = pytest.mark.asyncio
PARSED = parsed_of(1, 2, 3)
ONE, TWO, THREE = PARSED.keys


@dataclass
class Fetching:
    """A request for three rows that are being fetched."""

    cache: FakeCache
    batcher: FakeBatcher
    owner: FakeOwner
    rows: FetchedRows
    pending: PendingRequest


def fetching(
    room: int = 1000, coalescer: Any = None, timeout_seconds: float = 30
) -> Fetching:
    cache = FakeCache(remotes=["L2"])
    batcher = FakeBatcher(room)
    owner = FakeOwner()
    rows = FetchedRows({"m": 5})
    live = live_version(batcher)
    pending = pending_of(live, PARSED, (), owner, timeout_seconds)
    tiered: Any = cache
    policy = CachePolicy(tiered, coalescer)
    flights: Flights = {}
    for place, key in enumerate(PARSED.keys):
        Flight(flights, key, policy, pending, place)
    by_key = dict(zip(PARSED.keys, PARSED.rows, strict=True))
    Fetch(flights, rows, live, policy, by_key).start(pending)
    return Fetching(cache, batcher, owner, rows, pending)


async def test_hits_end_their_flights() -> None:
    case = fetching()
    assert case.cache.fetched == [ONE, TWO, THREE]
    for key in (ONE, TWO, THREE):
        case.cache.find(key, ANSWER)
    assert case.owner.endings == [None]
    assert (case.pending.hits, case.pending.detail) == (3, "L2")


async def test_rows_that_are_nowhere_are_computed() -> None:
    case = fetching()
    case.cache.find(ONE, ANSWER)
    case.cache.find(TWO, None)
    case.cache.find(THREE, None)
    assert [row for row, _ in case.batcher.jobs] == PARSED.rows[1:]
    case.batcher.complete()
    assert case.owner.endings == [None]
    assert case.cache.answers == {TWO: ANSWER, THREE: ANSWER}


async def test_the_rows_to_compute_are_admitted_together() -> None:
    """There is room for three: the first must not keep the second out."""
    case = fetching(room=3)
    for key in (ONE, TWO, THREE):
        case.cache.find(key, None)
        case.batcher.room = 0
    assert len(case.batcher.jobs) == 3


async def test_a_full_queue_sheds_the_request() -> None:
    case = fetching(room=2)
    for key in (ONE, TWO, THREE):
        case.cache.find(key, None)
    (error,) = case.owner.endings
    assert isinstance(error, Overloaded)
    assert case.pending.missing == 0


async def test_rows_that_no_request_waits_for_are_dropped() -> None:
    case = fetching()
    case.pending.abandon()
    for key in (ONE, TWO, THREE):
        case.cache.find(key, None)
    assert not case.batcher.jobs
    assert case.pending.missing == 0


async def test_the_deadline_bounds_the_wait_for_other_processes() -> None:
    class FakeCoalescer:
        lease_seconds = 10.0

        def release(self, key: bytes) -> None: ...

    now = asyncio.get_running_loop().time()
    assert fetching().cache.deadline - now < 1  # no other process computes
    short = fetching(coalescer=FakeCoalescer(), timeout_seconds=5)
    assert 4 < short.cache.deadline - now < 6
    long = fetching(coalescer=FakeCoalescer(), timeout_seconds=50)
    assert 9 < long.cache.deadline - now < 11
    late = fetching(coalescer=FakeCoalescer(), timeout_seconds=-1)
    late.cache.find(ONE, None)
    (error,) = late.owner.endings
    assert isinstance(error, DeadlineExceeded)


async def test_so_many_rows_are_fetched_at_once_and_no_more() -> None:
    case = fetching()
    case.rows.check_room("m", 2)
    with pytest.raises(Overloaded):
        case.rows.check_room("m", 3)
    case.cache.find(ONE, ANSWER)
    case.rows.check_room("m", 3)
    case.cache.find(TWO, None)
    case.rows.check_room("m", 4)
