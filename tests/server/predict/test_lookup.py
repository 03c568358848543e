"""Hits are answered from this host's cache, and their texts remembered."""

from typing import Any

from gomlx.errors import InvalidInput
from gomlx.server.predict.lookup import VersionLookup
from gomlx.server.predict.policy import CachePolicy
from tests.server.predict.fakes import (
    ANSWER,
    DIGEST,
    FakeBatcher,
    FakeCache,
    FakeRequester,
    live_version,
    parsed_of,
)


def lookup_of(policy: CachePolicy) -> VersionLookup:
    return VersionLookup(live_version(FakeBatcher()), policy, 100)


def cached_lookup() -> tuple[VersionLookup, FakeCache]:
    cache: Any = FakeCache()
    return lookup_of(CachePolicy(cache)), cache


def test_the_rows_of_all_requests_are_looked_up_together() -> None:
    lookup, cache = cached_lookup()
    one = parsed_of(1)
    two = parsed_of(2, 3)
    cache.answers = {one.keys[0]: ANSWER, two.keys[1]: ANSWER}
    assert lookup.cached([one, InvalidInput("wrong"), two]) == cache.answers
    assert cache.lookups == [[*one.keys, *two.keys]]
    assert lookup.cached([InvalidInput("wrong")]) == {}
    assert len(cache.lookups) == 1


def test_without_a_cache_there_are_no_hits() -> None:
    lookup = lookup_of(CachePolicy(None, bypass_reason="unsteady-model"))
    assert not lookup.is_local
    assert lookup.detail == "unsteady-model"
    (parsed,) = lookup.parser.parse([b'{"city":"rome","x":1}'])
    assert lookup.cached([parsed]) == {}


def test_a_hit() -> None:
    lookup, _ = cached_lookup()
    reply = lookup.hit(FakeRequester(b"text"), parsed_of(1), 0.0015, [ANSWER])
    begin = b'{"status":"ok","dictHash":7,"serviceTimeMcs":'
    assert reply.body == begin + b'1500,"data":' + ANSWER + b"}"
    assert reply.cache_status == "gomlx; hit; detail=L1"
    assert reply.version == DIGEST
    batch = lookup.hit(FakeRequester(b"texts"), parsed_of(1, 2), 0.002, [ANSWER] * 2)
    data = b"[" + ANSWER + b"," + ANSWER + b"]"
    assert batch.body == begin + b'2000,"data":' + data + b"}"
    assert batch.cache_status == 'gomlx; hit; detail="rows=2,hits=2"'


def test_the_texts_of_hits_are_not_parsed_again() -> None:
    lookup, _ = cached_lookup()
    lookup.hit(FakeRequester(b"eight"), parsed_of(*range(8)), 0.0, [ANSWER] * 8)
    lookup.hit(FakeRequester(b"nine"), parsed_of(*range(9)), 0.0, [ANSWER] * 9)
    assert lookup.parser.recent.newer == {b"eight": parsed_of(*range(8))}
