"""/v1/api/metric, for mly's tools: operations, each a count, times and categories.

An operation is a view of metrics that exist anyway (gomlx.metrics), summed over all
workers of the host:

    idPerf, idHTTPHandler   the requests of a model
    idEval                  the runs of a model
    store, store:tier       the rows looked up in the first tier of a datastore, and
                            in each further one
    …CacheW                 the rows to write to it

Names, fields and units are those of mly; times are whole microseconds.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from gomlx.metrics.metrics import Metrics
from gomlx.metrics.tally import ALL, MINUTES, NONE, Series, SeriesKey, Sums, minute
from gomlx.server.routes.mly_series import Operation, model_operations, tier_operations
from gomlx.server.routes.shared import SharedWork

_MICROSECONDS = 1e6


class Operations:
    """The documents of /v1/api/metric; None for an unknown name.

    models returns the names of all that are served.
    """

    def __init__(
        self,
        metrics: Metrics,
        models: Callable[[], Sequence[str]],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics
        self._models = models
        self._clock = clock
        self._reading = SharedWork(self._read)

    async def operations(self) -> list[dict[str, Any]]:
        """Return every operation."""
        series = await self._reading.result()
        return [self._document(operation, series) for operation in self._all(series)]

    async def operation(self, name: str) -> dict[str, Any] | None:
        """Return one operation."""
        found = (x for x in await self.operations() if x["Name"] == name)
        return next(found, None)

    async def recent(self, name: str) -> dict[str, Any] | None:
        """Return the current minute of an operation."""
        document = await self.operation(name)
        return document and document["Recent"][minute(self._clock()) % MINUTES]

    async def cumulative_metric(self, name: str, metric: str) -> int | None:
        """Return one number of an operation."""
        return _metric(await self.operation(name), metric)

    async def recent_metric(self, name: str, metric: str) -> int | None:
        """Return one number of an operation's current minute."""
        return _metric(await self.recent(name), metric)

    async def counters(self) -> list[dict[str, Any]]:
        """Return the rows that joined a flight, of each model."""
        series = await self._reading.result()
        return [_collapsed(model, series) for model in self._models()]

    async def counter(self, name: str) -> dict[str, Any] | None:
        """Return one of the counters."""
        return next((x for x in await self.counters() if x["Name"] == name), None)

    async def _read(self) -> Series:
        self._metrics.flush()
        # Reading the files of all workers: not on the event loop.
        return await asyncio.to_thread(self._metrics.read)

    def _all(self, series: Series) -> Iterator[Operation]:
        yield from tier_operations(self._metrics.labels("gomlx_cache_lookups"))
        for model in self._models():
            yield from model_operations(model, series)

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


def _numbers(operation: Operation, series: Series, period: int) -> dict[str, Any]:
    """Return an operation's numbers in a period. Zeros are omitted, as mly does.

    For a cache, Count is of rows, but times are of look-ups, of one or more rows each.
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


def _sum(keys: Iterable[SeriesKey], series: Series, period: int) -> Sums:
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
