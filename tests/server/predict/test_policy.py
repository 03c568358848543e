"""How answers are cached, and when rows are fetched before they are computed."""

from collections.abc import Sequence
from typing import Any

import pytest

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.tier import Remote
from gomlx.cache.remote.worth import Worth
from gomlx.cache.tiered import Tiered
from gomlx.config.schema import CacheTier
from gomlx.server.predict.policy import CachePolicy
from tests.cache.remote.fake import FakeTier
from tests.server.predict.fakes import FakeCache

LOCAL: Any = FakeCache()
SHARED: Any = FakeCache(remotes=["L2"])
COALESCER: Any = object()


@pytest.mark.parametrize(
    ("policy", "is_local"),
    [
        (CachePolicy(LOCAL), True),
        (CachePolicy(SHARED), False),
        (CachePolicy(LOCAL, COALESCER), False),
        (CachePolicy(SHARED, COALESCER), False),
    ],
)
def test_rows_are_fetched_from_shared_tiers_and_from_who_computes_them(
    policy: CachePolicy, is_local: bool
) -> None:
    assert policy.is_local == is_local
    assert policy.can_fetch(1) != is_local


def test_without_a_cache_nothing_is_fetched() -> None:
    assert not CachePolicy(None).can_fetch(1)
    assert not CachePolicy(SHARED).can_fetch(0)


def test_the_answers_of_unsteady_versions_are_not_cached() -> None:
    policy = CachePolicy(SHARED, COALESCER)
    assert policy.in_effect(is_unsteady=False) is policy
    unsteady = policy.in_effect(is_unsteady=True)
    assert unsteady == CachePolicy(None, None, "unsteady-model")
    assert CachePolicy(None).in_effect(is_unsteady=False).bypass_reason == (
        "no-datastore"
    )


def tiered(skip_below_us: Sequence[float], local: Any = None) -> Tiered:
    """Tiers in memory, with their skip_below_us."""
    limits = TierLimits(10, 10, 1000, 1000, False)
    remotes = []
    for n, below in enumerate(skip_below_us):
        tier = CacheTier(connection=f"r{n}", skip_below_us=below)
        worth = Worth(tier.skips)
        counts = RemoteCounts.unshown()
        remotes.append(Remote(f"r{n}", FakeTier(), limits, counts, worth))
    return Tiered(local, remotes, 10)


def coalescer_at(tier: str) -> Coalescer:
    nothing: Any = None
    return Coalescer(nothing, 1, nothing, tier)


@pytest.mark.asyncio
async def test_a_cheap_model_does_without_the_tiers_that_are_not_worth_it() -> None:
    policy = CachePolicy(tiered([100, 10]))
    assert policy.worthwhile("m", 200e-6) is policy
    cheaper = policy.worthwhile("m", 50e-6).cache
    assert cheaper is not None
    assert [remote.name for remote in cheaper.remotes] == ["r1"]
    assert policy.worthwhile("m", 5e-6) == CachePolicy(None, None, "cheap-model")
    assert CachePolicy(None).worthwhile("m", 5e-6) == CachePolicy(None)


@pytest.mark.asyncio
async def test_rows_of_a_model_that_has_only_this_host_are_computed_at_once() -> None:
    local: Any = FakeCache()
    policy = CachePolicy(tiered([100], local))
    assert not policy.worthwhile("m", 200e-6).is_local
    assert policy.worthwhile("m", 50e-6).is_local


@pytest.mark.asyncio
async def test_leases_in_a_tier_are_left_out_with_it() -> None:
    cache = tiered([100, 0])
    for tier, is_kept in (("r0", False), ("r1", True), ("", True)):
        policy = CachePolicy(cache, coalescer_at(tier))
        assert policy.worthwhile("m", 200e-6) is policy
        assert bool(policy.worthwhile("m", 50e-6).coalescer) == is_kept
