"""Replies, and what their Cache-Status says."""

import json

import pytest

from gomlx.errors import InvalidInput, Overloaded
from gomlx.server.predict.reply import (
    COLLAPSED,
    STORED,
    bypass_status,
    hit_status,
    miss_status,
    refusal,
)


def test_a_refusal_says_what_went_wrong() -> None:
    reply = refusal(InvalidInput("expected a number", "x"))
    assert reply.status == 400
    error = json.loads(reply.body)["error"]
    assert "x" in error
    assert "expected a number" in error
    assert reply.retry_after is None
    assert (reply.cache_status, reply.version) == ("", "")


def test_a_shed_request_may_come_again() -> None:
    reply = refusal(Overloaded("m", 5))
    assert reply.status == 429
    assert reply.retry_after


def test_a_hit() -> None:
    assert hit_status(1, False, "L1") == "gomlx; hit; detail=L1"
    assert hit_status(3, True, "L1") == 'gomlx; hit; detail="rows=3,hits=3"'


@pytest.mark.parametrize(
    ("rows", "is_batch", "hits", "collapsed", "status"),
    [
        (1, False, 0, 0, STORED),
        (1, False, 0, 1, COLLAPSED),
        (3, True, 0, 2, 'gomlx; fwd=miss; stored; detail="rows=3,hits=0"'),
        (3, True, 0, 3, 'gomlx; fwd=miss; collapsed; detail="rows=3,hits=0"'),
        (3, True, 1, 1, 'gomlx; fwd=partial; stored; detail="rows=3,hits=1"'),
        (3, True, 1, 2, 'gomlx; fwd=partial; collapsed; detail="rows=3,hits=1"'),
    ],
)
def test_a_miss(
    rows: int, is_batch: bool, hits: int, collapsed: int, status: str
) -> None:
    assert miss_status(rows, is_batch, hits, collapsed) == status


def test_a_bypass() -> None:
    assert bypass_status("no-datastore") == "gomlx; fwd=bypass; detail=no-datastore"
