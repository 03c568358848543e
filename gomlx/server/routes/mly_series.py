"""The operations that mly's tools read: which of our metrics each is made of."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from gomlx.metrics.tally import Series, SeriesKey

_UNCOUNTED = ""
# HTTP status → category, shown if mly has it; a status that is not here is an error.
_PERF = {
    "200": "eval",
    "499": _UNCOUNTED,  # gomlx_requests_canceled has them
    "400": "invalid",
    "413": "invalid",
    "429": "overloaded",
    "504": "deadlineExceeded",
}
_HANDLER = {"200": _UNCOUNTED, "499": _UNCOUNTED, "504": "deadlineExceeded"}
_PERF_CATEGORIES = (
    "error",
    "eval",
    "pending",
    "timeout",
    "invalid",
    "canceled",
    "deadlineExceeded",
    "overloaded",
)
_HANDLER_CATEGORIES = ("error", "canceled", "deadlineExceeded")


@dataclass(frozen=True)
class Operation:
    """Which series are an operation's events, their times and its categories."""

    location: str
    name: str
    description: str
    events: Sequence[SeriesKey]
    times: Sequence[SeriesKey]
    categories: Mapping[str, Sequence[SeriesKey]]


class _TierView(NamedTuple):
    """One of the two operations of a tier; outcomes: by category."""

    suffix: str
    metric: str
    outcomes: Mapping[str, str]
    seconds: str
    verb: str


_TIER_VIEWS = (
    _TierView(
        suffix="",
        metric="gomlx_cache_lookups",
        outcomes={
            "error": "failed",
            "hit": "hit",
            "miss": "miss",
            "timeout": "late",
            "down": "skipped",
            "bad": "bad",
        },
        seconds="gomlx_cache_seconds",
        verb="read",
    ),
    _TierView(
        suffix="CacheW",
        metric="gomlx_cache_writes",
        outcomes={"error": "failed", "written": "written", "dropped": "dropped"},
        seconds="",
        verb="write",
    ),
)


def model_operations(model: str, series: Series) -> Iterator[Operation]:
    """Yield the three operations of a model; series: those that there are."""
    requests = [("gomlx_request_seconds", model), ("gomlx_refusal_seconds", model)]
    runs = [("gomlx_model_run_seconds", model)]
    yield Operation(
        "gomlx/server",
        f"{model}HTTPHandler",
        f"{model} server HTTP handler",
        requests,
        requests,
        _by_status(model, series, _HANDLER, _HANDLER_CATEGORIES),
    )
    yield Operation(
        "gomlx/server",
        f"{model}Perf",
        f"{model} service performance",
        requests,
        requests,
        _by_status(model, series, _PERF, _PERF_CATEGORIES),
    )
    yield Operation(
        "gomlx/models",
        f"{model}Eval",
        f"{model} Tensorflow evaluator performance",
        runs,
        runs,
        {"error": [("gomlx_model_run_failures", model)], "running": []},
    )


def tier_operations(lookups: Iterable[SeriesKey]) -> Iterator[Operation]:
    """Yield the two operations of each tier; lookups: (datastore, tier, outcome)."""
    first: dict[str, str] = {}
    for store, tier in dict.fromkeys(key[:2] for key in lookups):
        is_first = first.setdefault(store, tier) == tier
        name = store if is_first else f"{store}:{tier}"
        for view in _TIER_VIEWS:
            yield _tier_operation(view, name, store, tier)


def _tier_operation(view: _TierView, name: str, store: str, tier: str) -> Operation:
    categories = {
        category: [(view.metric, store, tier, outcome)]
        for category, outcome in view.outcomes.items()
    }
    return Operation(
        "gomlx/cache",
        f"{name}{view.suffix}",
        f"{store} {tier} {view.verb} cache performance",
        [key for keys in categories.values() for key in keys],
        [(view.seconds, store, tier)],
        categories,
    )


def _by_status(
    model: str, series: Series, names: Mapping[str, str], categories: Iterable[str]
) -> dict[str, Sequence[SeriesKey]]:
    """Return the series of each category: requests by HTTP status, and canceled."""
    found: dict[str, list[SeriesKey]] = {category: [] for category in categories}
    found["canceled"].append(("gomlx_requests_canceled", model))
    for key in series:
        if key[:2] == ("gomlx_requests", model):
            category = names.get(key[2], "error")
            if category in found:
                found[category].append(key)
    return dict(found)
