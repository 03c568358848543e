"""Missing rows are computed once, or nothing is begun at all."""

from typing import Any

import pytest

from gomlx.errors import Overloaded
from gomlx.server.predict.misses import Misses
from gomlx.server.predict.parse import ParsedRequest
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

pytestmark = pytest.mark.asyncio


def policy_of(*remotes: str) -> CachePolicy:
    cache: Any = FakeCache(remotes=remotes)
    return CachePolicy(cache)


async def test_a_row_joins_the_flight_that_is_under_way() -> None:
    misses = Misses({"m": 10})
    batcher = FakeBatcher()
    owner = FakeOwner()
    live = live_version(batcher)
    policy = policy_of()
    single = pending_of(live, parsed_of(1), owner=owner)
    twin = pending_of(live, parsed_of(1), owner=owner)
    batch = pending_of(live, parsed_of(1, 2, 2), owner=owner)
    misses.join_flight(single, policy)
    misses.join_flight(twin, policy)
    misses.join_flights(batch, policy)
    assert [p.collapsed for p in (single, twin, batch)] == [0, 1, 2]
    assert [row for row, _ in batcher.jobs] == parsed_of(1, 2).rows
    batcher.complete()
    assert owner.endings == [None] * 3
    assert live.pins == 0


async def test_rows_that_hit_are_not_computed() -> None:
    misses = Misses({"m": 10})
    batcher = FakeBatcher()
    pending = pending_of(
        live_version(batcher), parsed_of(1, 2, 3), [None, ANSWER, None]
    )
    misses.join_flights(pending, policy_of())
    assert [row for row, _ in batcher.jobs] == parsed_of(1, 3).rows


async def test_without_a_cache_each_request_has_its_own_runs() -> None:
    misses = Misses({"m": 10})
    batcher = FakeBatcher()
    owner = FakeOwner()
    live = live_version(batcher)
    for _ in range(2):
        parsed = ParsedRequest(parsed_of(1, 2).rows, [], True)
        misses.run_uncached(pending_of(live, parsed, owner=owner))
    assert len(batcher.jobs) == 4
    batcher.complete()
    assert owner.endings == [None, None]


async def test_a_request_that_finds_no_room_changes_nothing() -> None:
    misses = Misses({"m": 1})
    batcher = FakeBatcher(room=0)
    live = live_version(batcher)
    owner = FakeOwner()
    single = pending_of(live, parsed_of(1), owner=owner)
    batch = pending_of(live, parsed_of(1, 2), owner=owner)
    for _ in range(2):  # no flight stays behind, which the next one would join
        assert misses.shortage(live, single.parsed.keys[0], 1.0)
        with pytest.raises(Overloaded):
            misses.join_flights(batch, policy_of())
        with pytest.raises(Overloaded):
            misses.join_flights(batch, policy_of("L2"))
        with pytest.raises(Overloaded):
            misses.run_uncached(single)
    assert not batcher.jobs
    assert not owner.endings


async def test_rows_are_fetched_before_they_are_computed() -> None:
    misses = Misses({"m": 10})
    batcher = FakeBatcher()
    owner = FakeOwner()
    parsed = parsed_of(1, 2)
    pending = pending_of(live_version(batcher), parsed, owner=owner)
    cache = FakeCache(remotes=["L2"])
    tiered: Any = cache
    misses.join_flights(pending, CachePolicy(tiered))
    assert cache.fetched == parsed.keys
    assert not batcher.jobs
    cache.find(parsed.keys[0], ANSWER)
    cache.find(parsed.keys[1], None)
    batcher.complete()
    assert owner.endings == [None]


async def test_a_request_that_ends_early_frees_its_room() -> None:
    misses = Misses({"m": 10})
    batcher = FakeBatcher()
    pending = pending_of(live_version(batcher), parsed_of(1))
    misses.join_flight(pending, policy_of())
    assert pending.abandon()
    misses.end(pending)
    assert batcher.has_abandoned
