"""What gomlx counts during a run: two readings of /metrics, compared."""

import re
from collections.abc import Mapping
from math import inf

from loadtests.load.services import System

_SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_BOUND = re.compile(r'le="([^"]+)"')


class Counters:
    """The samples of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples = _SAMPLE.findall(text)

    def total(self, name: str, *labels: str) -> float:
        """Return the sum of the samples that have all these labels: `code="200"`."""
        return sum(
            float(value)
            for found, has, value in self._samples
            if found == name and all(label in has for label in labels)
        )

    def buckets(self, name: str) -> dict[float, float]:
        """Return the cumulative counts of a histogram, by upper bound."""
        found: dict[float, float] = {}
        for sample, labels, value in self._samples:
            bound = _BOUND.search(labels)
            if sample == f"{name}_bucket" and bound:
                le = float(bound[1])
                found[le] = found.get(le, 0) + float(value)
        return found


def counters(system: System) -> Counters | None:
    """Read what a system counts; None for those that are not gomlx."""
    return Counters(system.service.get("/metrics").text) if system.service else None


def changes(before: Counters, after: Counters) -> Mapping[str, float | None]:
    """Return what a run changed, under the names that results/table.json has.

    hits: the share of look-ups that hit; joined: the rows of a model's run; lag_ms: the
    longest lag of the event loop.
    """

    def grown(name: str, *labels: str) -> float:
        return after.total(name, *labels) - before.total(name, *labels)

    looked_up = grown("gomlx_cache_lookups_total")
    runs = grown("gomlx_model_runs_total")
    hits = grown("gomlx_cache_lookups_total", 'outcome="hit"')
    return {
        "hits": hits / looked_up if looked_up else None,
        "joined": grown("gomlx_batch_rows_sum") / runs if runs else None,
        "lag_ms": _longest_lag(before, after),
    }


def _longest_lag(before: Counters, after: Counters) -> float | None:
    """Return an upper bound of the event loop's lag, in ms: that of a bucket."""
    name = "gomlx_loop_lag_seconds"
    old = before.buckets(name)
    new = after.buckets(name)
    if not new:
        return None
    grown = {bound: new[bound] - old.get(bound, 0) for bound in sorted(new)}
    most = grown[inf]
    return next(bound for bound, n in grown.items() if n == most) * 1000
