"""How answers are cached, and when rows are fetched before they are computed."""

from typing import Any

import pytest

from gomlx.server.predict.policy import CachePolicy
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
