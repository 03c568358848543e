"""A point of time in what all workers have counted, as JSON types.

Counts only grow: what happened between two points is their difference.
"""

from collections.abc import Collection
from typing import Any

from gomlx.metrics.declarations import HISTOGRAMS
from gomlx.metrics.tally import ALL, Counts

_REQUESTS = "gomlx_request_seconds"
_LOOKUPS = "gomlx_cache_seconds"
_QUEUES = {"queue_rows": "gomlx_queue_rows", "queue_seconds": "gomlx_queue_seconds"}
_OUTCOMES = {"lookups": "gomlx_cache_lookups", "writes": "gomlx_cache_writes"}

Json = dict[str, Any]


def bounds() -> dict[str, list[float]]:
    """Return the upper bounds in seconds of the buckets that points have.

    Each `seconds` of a point has one number more: of those above the last bound.
    """
    named = {"requests": _REQUESTS, "lookups": _LOOKUPS}
    return {name: [*HISTOGRAMS[metric].bounds] for name, metric in named.items()}


def point(counts: Counts, models: Collection[str], now: float) -> Json:
    """Return the counts of some models and of all tiers; now: in seconds since 1970."""
    return {
        "time": round(now, 3),
        "models": {name: _model(counts, name) for name in models},
        "tiers": _tiers(counts),
    }


def _model(counts: Counts, name: str) -> Json:
    codes = {
        key[2]: periods[ALL].n
        for key, periods in counts.series.items()
        if key[:2] == ("gomlx_requests", name)
    }
    queue = {
        what: counts.gauges[metric, name]
        for what, metric in _QUEUES.items()
        if (metric, name) in counts.gauges
    }
    return {
        "codes": codes,
        "seconds": counts.buckets.get((_REQUESTS, name), []),
    } | queue


def _tiers(counts: Counts) -> Json:
    """Return what is counted of each tier, by datastore and tier."""
    found: Json = {}
    for what, metric in _OUTCOMES.items():
        for key, periods in counts.series.items():
            if key[0] == metric:
                _, store, tier, outcome = key
                one = found.setdefault(store, {}).setdefault(tier, _empty_tier())
                one[what][outcome] = periods[ALL].n
    for store, tiers in found.items():
        for tier, one in tiers.items():
            one["seconds"] = counts.buckets.get((_LOOKUPS, store, tier), [])
    return found


def _empty_tier() -> Json:
    return {what: {} for what in _OUTCOMES}
