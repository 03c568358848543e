"""What mly's tools read: operations, each a count, times and categories.

An operation is a view of metrics that are counted anyway (gomlx.metrics), summed over
all workers of the host:

    idPerf, idHTTPHandler   the requests of a model
    idEval                  the runs of a model
    store, store:tier       the rows looked up in the first tier of a datastore, and
                            in each further one
    …CacheW                 the rows to write to it

Names, fields and units are those of mly; times are whole microseconds.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gomlx.metrics.metrics import Metrics
from gomlx.metrics.tally import ALL, MINUTES, NONE, Key, Series, Sums, minute

_MICROSECONDS = 1e6
# An HTTP status is a category, shown if mly has it; those not here are errors.
_PERF = {
    "200": "eval",
    "499": "left",  # counted as canceled
    "400": "invalid",
    "413": "invalid",
    "429": "overloaded",
    "504": "deadlineExceeded",
}
_HANDLER = {"200": "answered", "499": "left", "504": "deadlineExceeded"}
_PERF_CATEGORIES = (
    *("error", "eval", "pending", "timeout", "invalid"),
    *("canceled", "deadlineExceeded", "overloaded"),
)
_HANDLER_CATEGORIES = ("error", "canceled", "deadlineExceeded")
# category: outcome
_LOOKUPS = {
    "error": "failed",
    "hit": "hit",
    "miss": "miss",
    "timeout": "late",
    "down": "skipped",
    "bad": "bad",
}
_WRITES = {"error": "failed", "written": "written", "dropped": "dropped"}


@dataclass(frozen=True)
class Operation:
    """Which series are an operation's events, their times and its categories."""

    location: str
    name: str
    description: str
    events: Sequence[Key]
    times: Sequence[Key]
    categories: Mapping[str, Sequence[Key]]


class Operations:
    """The documents of /v1/api/metric; None where a name is not known."""

    def __init__(
        self,
        metrics: Metrics,
        models: Sequence[str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics, self._models, self._clock = metrics, models, clock

    async def operations(self) -> list[dict[str, Any]]:
        series = await self._series()
        return [self._document(operation, series) for operation in self._all(series)]

    async def operation(self, name: str) -> dict[str, Any] | None:
        found = (x for x in await self.operations() if x["Name"] == name)
        return next(found, None)

    async def recent(self, name: str) -> dict[str, Any] | None:
        """The current minute of an operation."""
        document = await self.operation(name)
        return document and document["Recent"][minute(self._clock()) % MINUTES]

    async def cumulative_metric(self, name: str, metric: str) -> int | None:
        return _metric(await self.operation(name), metric)

    async def recent_metric(self, name: str, metric: str) -> int | None:
        return _metric(await self.recent(name), metric)

    async def counters(self) -> list[dict[str, Any]]:
        series = await self._series()
        return [_collapsed(model, series) for model in self._models]

    async def counter(self, name: str) -> dict[str, Any] | None:
        return next((x for x in await self.counters() if x["Name"] == name), None)

    async def _series(self) -> Series:
        self._metrics.flush()
        # Reading the files of all workers: not on the loop.
        return await asyncio.to_thread(self._metrics.read)

    def _all(self, series: Series) -> Iterator[Operation]:
        yield from _tiers(self._metrics.labels("gomlx_cache_lookups"))
        for model in self._models:
            yield from _of_model(model, series)

    def _document(self, operation: Operation, series: Series) -> dict[str, Any]:
        now = minute(self._clock())
        # The bucket of a minute is its number modulo how many there are.
        minutes = sorted(range(now - MINUTES + 1, now + 1), key=lambda m: m % MINUTES)
        return {
            "Location": operation.location,
            "Name": operation.name,
            "Description": operation.description,
            **_numbers(operation, series, ALL),
            "Recent": [_numbers(operation, series, m) for m in minutes],
            "Unit": "1µs",
            "RecentUnit": "1m0s",
        }


def _of_model(model: str, series: Series) -> Iterator[Operation]:
    requests = ("gomlx_request_seconds", model), ("gomlx_refusal_seconds", model)
    perf = _by_status(model, series, _PERF, _PERF_CATEGORIES)
    handler = _by_status(model, series, _HANDLER, _HANDLER_CATEGORIES)
    runs = (("gomlx_model_run_seconds", model),)
    failures = {"error": (("gomlx_model_run_failures", model),), "running": ()}
    for location, name, description, events, categories in (
        ("server", "HTTPHandler", "server HTTP handler", requests, handler),
        ("server", "Perf", "service performance", requests, perf),
        ("models", "Eval", "Tensorflow evaluator performance", runs, failures),
    ):
        yield Operation(
            f"gomlx/{location}",
            f"{model}{name}",
            f"{model} {description}",
            events,
            events,
            categories,
        )


def _by_status(
    model: str, series: Series, names: Mapping[str, str], categories: Iterable[str]
) -> dict[str, Sequence[Key]]:
    """Return the series of each category: requests by HTTP status, and canceled."""
    found: dict[str, list[Key]] = {category: [] for category in categories}
    found["canceled"].append(("gomlx_requests_canceled", model))
    for key in series:
        if key[:2] == ("gomlx_requests", model):
            category = names.get(key[2], "error")
            if category in found:
                found[category].append(key)
    return dict(found)


def _tiers(lookups: Iterable[Key]) -> Iterator[Operation]:
    """Return two operations for each tier; lookups: (datastore, tier, outcome)."""
    first: dict[str, str] = {}
    for store, tier in dict.fromkeys(key[:2] for key in lookups):
        is_first = first.setdefault(store, tier) == tier
        name = store if is_first else f"{store}:{tier}"
        for suffix, metric, outcomes, times, does in (
            ("", "gomlx_cache_lookups", _LOOKUPS, "gomlx_cache_seconds", "read"),
            ("CacheW", "gomlx_cache_writes", _WRITES, "", "write"),
        ):
            categories: dict[str, Sequence[Key]] = {
                category: ((metric, store, tier, outcome),)
                for category, outcome in outcomes.items()
            }
            yield Operation(
                "gomlx/cache",
                f"{name}{suffix}",
                f"{store} {tier} {does} cache performance",
                [key for keys in categories.values() for key in keys],
                [(times, store, tier)],
                categories,
            )


def _numbers(operation: Operation, series: Series, period: int) -> dict[str, Any]:
    """Return what an operation has counted in a period. Zeros are left out, as there.

    Of a cache, Count is of rows, and the times are of look-ups of one or more rows.
    """
    count = _sum(operation.events, series, period).n
    times = _sum(operation.times, series, period)
    counters = []
    for name, keys in operation.categories.items():
        n = _sum(keys, series, period).n
        counters.append(
            {"Value": name}
            | ({"Count": n} if n else {})
            | {"Custom": None}
            | ({"Pct": 100 * n // count} if n and count else {})
        )
    return ({"Count": count} if count else {}) | {
        "Custom": None,
        "Counters": counters,
        "TimeTaken": round(times.total * _MICROSECONDS),
        "Max": round(times.high * _MICROSECONDS),
        "Min": round(times.low * _MICROSECONDS),
        "Avg": round(times.total / (times.n or 1) * _MICROSECONDS),
    }


def _sum(keys: Iterable[Key], series: Series, period: int) -> Sums:
    total = NONE
    for key in keys:
        total = total.plus(series.get(key, {}).get(period, NONE))
    return total


_NUMBERS = {
    "count": "Count",
    "min": "Min",
    "max": "Max",
    "avg": "Avg",
    "timeTaken": "TimeTaken",
}


def _metric(numbers: dict[str, Any] | None, metric: str) -> int | None:
    """Return one number: count, min, …, a category or, with .pct, its percentage."""
    if numbers is None:
        return None
    if metric in _NUMBERS:
        return int(numbers.get(_NUMBERS[metric], 0))
    category = metric.removesuffix(".pct")
    field = "Count" if category == metric else "Pct"
    for counter in numbers["Counters"]:
        if counter["Value"] == category:
            return int(counter.get(field, 0))
    return None


def _collapsed(model: str, series: Series) -> dict[str, Any]:
    n = _sum([("gomlx_flights_collapsed", model)], series, ALL).n
    return {
        "Location": "gomlx/server",
        "Name": f"{model}Collapsed",
        "Description": f"{model} rows that waited for a computation under way",
        **({"Count": n} if n else {}),
        "Custom": None,
    }
