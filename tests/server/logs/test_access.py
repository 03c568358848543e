"""Lines of the access log, and the sample."""

import json
from random import Random

import pytest

from gomlx.server.logs.access import Access, Origin, access_line
from gomlx.server.logs.sampling import Sampler
from gomlx.server.predict.reply import (
    COLLAPSED,
    STORED,
    bypass_status,
    hit_status,
    miss_status,
)

REQUEST = Access(
    "10.0.0.7",
    "GET",
    "/v1/api/model/m/eval?x=1",
    200,
    42,
    0.0012345678,
    "m",
    hit_status(1, False, "L1"),
    "r-1",
)


def test_a_line() -> None:
    line = access_line(REQUEST, 1795907639.25, shows_query=False)
    assert line.endswith(b"}\n")
    assert json.loads(line) == {
        "time": "2026-11-28T23:13:59.250000Z",
        "logger": "access",
        "peer": "10.0.0.7",
        "method": "GET",
        "path": "/v1/api/model/m/eval",
        "status": 200,
        "bytes": 42,
        "seconds": 0.001235,
        "model": "m",
        "cache": "hit",
        "tier": "L1",
        "request_id": "r-1",
    }


def test_values_of_a_query_are_shown_if_that_is_wanted() -> None:
    assert b"x=1" not in access_line(REQUEST, 0.0, shows_query=False)
    assert json.loads(access_line(REQUEST, 0.0, shows_query=True))["query"] == "x=1"


def test_a_request_that_was_refused_before_it_was_read() -> None:
    line = access_line(Access("10.0.0.7", "", "", 408, 0, 0.0), 0.0, False)
    assert json.loads(line).keys() == {
        *("time", "logger", "peer", "status", "bytes", "seconds")
    }


@pytest.mark.parametrize(
    ("status", "origin"),
    [
        (hit_status(1, False, "L1"), Origin("hit", "L1")),
        (hit_status(1, False, "near-redis.1"), Origin("hit", "near-redis.1")),
        (hit_status(3, True, "L1"), Origin("hit", None)),
        (STORED, Origin("miss", "model")),
        (COLLAPSED, Origin("collapsed", "model")),
        (miss_status(3, True, 0, 0), Origin("miss", "model")),
        (miss_status(3, True, 1, 0), Origin("partial", None)),
        (bypass_status("no-datastore"), Origin("bypass", "model")),
        ("", Origin(None, None)),
    ],
)
def test_where_an_answer_is_from(status: str, origin: Origin) -> None:
    assert Origin.of(status) == origin


@pytest.mark.parametrize("share", [1.0, 0.5, 0.01])
def test_the_sample_has_its_share(share: float) -> None:
    sampler = Sampler(share, Random(7).random)
    events = 100_000
    chosen = 0
    gap = sampler.gap
    for _ in range(events):
        gap -= 1
        if gap < 0:
            gap = sampler.next()
            chosen += 1
    assert abs(chosen - events * share) <= 5 * (events * share * (1 - share)) ** 0.5
