"""Hostile requests are within the limits that a service has by default."""

import json

from gomlx.config.schema import Endpoint
from gomlx.server.body import LARGE_BYTES
from loadtests.blocking.hostile import hostile_requests


def test_each_kind_is_admitted() -> None:
    kinds = [*hostile_requests()]
    assert len({kind.name for kind in kinds}) == len(kinds)
    limits = Endpoint()
    for kind in kinds:
        for sent in kind.sent:
            head = sent.partition(b"\r\n\r\n")[0]
            assert len(head) < limits.max_header_bytes
            assert kind.length <= limits.max_body_bytes


def test_some_are_just_below_the_size_that_threads_parse() -> None:
    lengths = [kind.length for kind in hostile_requests() if "31 KiB" in kind.name]
    assert 0.9 * LARGE_BYTES < max(lengths) < LARGE_BYTES


def test_rows_that_miss_are_others_in_each_turn() -> None:
    first, second = (
        next(kind for kind in hostile_requests(turn) if "miss" in kind.name)
        for turn in (0, 1)
    )
    rows = [
        {*json.loads(kind.sent[0].partition(b"\r\n\r\n")[2])["x"]}
        for kind in (first, second)
    ]
    assert not rows[0] & rows[1]
