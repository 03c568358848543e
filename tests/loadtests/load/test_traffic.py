"""Which rows are requested, and how often."""

import json
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

from loadtests.load.traffic import (
    FIRST,
    HIT,
    Traffic,
    Zipf,
    batches,
    ranked,
    strings,
)

TRAFFIC = Traffic("/x", strings(), hits=0.5, recurring=10)


def test_recurring_rows_come_again_and_new_ones_do_not() -> None:
    requests = list(islice(TRAFFIC.requests(), 1000))
    requested = Counter(request.data for request in requests)
    hits = {request.data for request in requests if request.kind == HIT}
    assert len(hits) == 10
    assert sum(requested[data] for data in hits) == pytest.approx(500, abs=60)
    assert all(n == 1 for data, n in requested.items() if data not in hits)


def test_zipf_with_churn_replaces_rows() -> None:
    def rows(churn: float) -> Counter[bytes]:
        traffic = replace(TRAFFIC, recurring=100, zipf=Zipf(1.0, churn))
        requests = islice(traffic.requests(), 5000)
        return Counter(request.data for request in requests)

    still = rows(0)
    assert len(still) == 100
    assert still.most_common(1)[0][1] > 5 * still.most_common(100)[-1][1]
    assert len(rows(0.1)) > 300


def test_in_order_each_row_comes_after_the_one_before() -> None:
    traffic = replace(TRAFFIC, in_order=True, start=7)
    expected = [traffic.request(n) for n in (7, 8, 9)]
    assert list(islice(traffic.requests(), 3)) == expected


def test_a_batch_has_a_hundred_rows_that_no_other_has() -> None:
    many = batches(ranked())
    floats: list[int] = []
    for n in (10_000, 10_001, 99_999):
        body = json.loads(many.body(n))
        assert {len(column) for name, column in body.items() if name[0] in "cf"} == {
            100
        }
        floats += body["f0"]
    assert len(np.unique(np.array(floats, np.float32))) == 300
    assert ranked().body(FIRST) != ranked().body(FIRST + 1)
