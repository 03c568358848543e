"""A closed loop of calls: each waits for its answer before the next one starts."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from itertools import chain
from time import perf_counter
from typing import Any

from rich.table import Table

from gomlx.cli.latency import Latency, duration, legend, plot
from gomlx.cli.sample_rows import ValueColumns
from gomlx.cli.terminal import output
from gomlx.client.answer import Answer
from gomlx.errors import GomlxError

_NEAREST_FIRST = ("local", "redis", "L1", "server", "model")
_PAUSE_SECONDS = 0.01  # after a failed call: a host that refuses at once gets no flood


class LoadResult:
    """The calls of one load: latency by tier, rows by tier, failures by message.

    seconds is the time that all calls took together.
    """

    def __init__(self) -> None:
        self.failed: Counter[str] = Counter()
        self.seconds = 0.0
        self._latency: dict[str, Latency] = {}
        self._rows: Counter[str] = Counter()
        self._cached_rows = 0

    def add(self, answers: Sequence[Answer], seconds: float) -> None:
        """Count a call: the latency of its furthest tier, the rows of each tier."""
        tiers = Counter(answer.tier for answer in answers)
        self._rows.update(tiers)
        self._cached_rows += sum(answer.cached for answer in answers)
        furthest = max(tiers, key=_distance)
        self._latency.setdefault(furthest, Latency()).add(seconds)

    def add_failure(self, error: GomlxError) -> None:
        """Count a call without an answer."""
        self.failed[f"{type(error).__name__}: {error}"[:200]] += 1

    @property
    def tiers(self) -> dict[str, Latency]:
        """The latency of calls by tier, the nearest tier first."""
        return {
            name: self._latency[name] for name in sorted(self._latency, key=_distance)
        }

    def as_dict(self) -> dict[str, Any]:
        """Return all figures for JSON; times are in seconds."""
        rows = self._rows.total()
        calls = sum(latency.count for latency in self._latency.values())
        return {
            "seconds": self.seconds,
            "calls": calls,
            "calls_per_second": calls / self.seconds,
            "failed": self.failed.total(),
            "rows": rows,
            "hit_ratio": self._cached_rows / rows if rows else 0.0,
            "rows_by_tier": dict(self._rows),
            "latency": {tier: one.as_dict() for tier, one in self.tiers.items()},
        }

    def print_tables(self) -> None:
        """Print the figures as tables and bars."""
        figures = self.as_dict()
        tiers = self.tiers
        output.print(self._table(tiers, figures["rows"]))
        if tiers:
            output.print(plot(tiers))
            output.print(legend(list(tiers)))
        calls = f"{figures['calls_per_second']:,.0f} calls"
        rows = f"{figures['rows'] / self.seconds:,.0f} rows"
        ratio = f"{figures['hit_ratio']:.1%}"
        output.print(f"hit ratio {ratio}; {calls} and {rows} a second")

    def _table(self, tiers: dict[str, Latency], all_rows: int) -> Table:
        table = Table("tier", "rows", "share", "calls", "p50", "p99", "max")
        for column in table.columns[1:]:
            column.justify = "right"
        for tier in dict.fromkeys((*tiers, *self._rows)):
            rows = self._rows[tier]
            latency = tiers.get(tier, Latency())
            times = ["", "", ""]
            if latency.count:
                seconds = (latency.quantile(0.5), latency.quantile(0.99), latency.most)
                times = list(map(duration, seconds))
            share = f"{rows / all_rows:.1%}"
            table.add_row(tier, f"{rows:,}", share, f"{latency.count:,}", *times)
        return table


Predict = Callable[[ValueColumns], Awaitable[list[Answer]]]


async def apply_load(
    predict: Predict,
    batches: Iterator[ValueColumns],
    seconds: float,
    concurrency: int,
) -> LoadResult:
    """Call predict with one batch after the other for some seconds.

    concurrency is the number of calls at once. Raises what iterating over batches
    raises.
    """
    result = LoadResult()
    first = next(batches)  # an error in the batches is raised before the load
    batches = chain((first,), batches)
    started = perf_counter()
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(_loop(predict, batches, started + seconds, result))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None
    result.seconds = perf_counter() - started
    return result


async def _loop(
    predict: Predict,
    batches: Iterator[ValueColumns],
    end: float,
    result: LoadResult,
) -> None:
    while perf_counter() < end:
        columns = next(batches)
        started = perf_counter()
        try:
            answers = await predict(columns)
        except GomlxError as error:
            result.add_failure(error)
            await asyncio.sleep(_PAUSE_SECONDS)
            continue
        result.add(answers, perf_counter() - started)
        await asyncio.sleep(0)  # a local hit does not yield to the other loops


def _distance(tier: str) -> int:
    """Return how far a tier is; those beyond L1 are between it and the server."""
    return _NEAREST_FIRST.index(tier) if tier in _NEAREST_FIRST else 2
