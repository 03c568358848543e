"""What gomlx counts during a run."""

import pytest

from loadtests.bench.counters import Counters, changes

BEFORE = """\
# HELP gomlx_cache_lookups_total Look-ups.
gomlx_cache_lookups_total{tier="L1",outcome="hit"} 10
gomlx_cache_lookups_total{tier="L1",outcome="miss"} 10
gomlx_model_runs_total{model="R"} 4
gomlx_batch_rows_sum{model="R"} 10
gomlx_loop_lag_seconds_bucket{le="0.001"} 5
gomlx_loop_lag_seconds_bucket{le="0.01"} 6
gomlx_loop_lag_seconds_bucket{le="+Inf"} 6
"""
AFTER = """\
gomlx_cache_lookups_total{tier="L1",outcome="hit"} 40
gomlx_cache_lookups_total{tier="L1",outcome="miss"} 20
gomlx_model_runs_total{model="R"} 6
gomlx_batch_rows_sum{model="R"} 20
gomlx_loop_lag_seconds_bucket{le="0.001"} 9
gomlx_loop_lag_seconds_bucket{le="0.01"} 10
gomlx_loop_lag_seconds_bucket{le="+Inf"} 10
"""


def test_totals_have_all_labels() -> None:
    counters = Counters(BEFORE)
    assert counters.total("gomlx_cache_lookups_total") == 20
    assert counters.total("gomlx_cache_lookups_total", 'outcome="hit"') == 10


def test_changes_are_those_of_the_run() -> None:
    """The lag of 10 ms was before the run."""
    found = changes(Counters(BEFORE), Counters(AFTER))
    assert found == {"hits": pytest.approx(0.75), "joined": 5.0, "lag_ms": 1.0}


def test_changes_of_a_run_without_requests() -> None:
    found = changes(Counters(""), Counters(""))
    assert found == {"hits": None, "joined": None, "lag_ms": None}
