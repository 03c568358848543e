"""Every metric, declared once, with its unit.

The request path counts in plain attributes (`count.n += 1`, 30 ns); `Metrics.flush`
moves the counts into prometheus_client's shared files a few times a second (1-2 us
each). The files are named by worker slot, not by process, so that they do not pile up
as workers are recycled.
"""

import os
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class Count:
    """Events since the last flush."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Spread:
    """Measured values since the last flush, by bucket."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


SECONDS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2),
    *(2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

# name: (help, labels)
_COUNTERS = {
    "gomlx_requests": ("Requests, by model and HTTP status.", ("model", "code")),
    "gomlx_cache_lookups": (
        "Rows looked up in a tier (hit, miss), writes dropped, operations failed.",
        ("datastore", "tier", "outcome"),
    ),
    "gomlx_flights_collapsed": (
        "Rows that waited for a computation already under way.",
        ("model",),
    ),
    "gomlx_model_runs": ("Runs of a model.", ("model",)),
    "gomlx_model_run_failures": ("Runs that TensorFlow refused.", ("model",)),
    "gomlx_loads": ("Versions that workers loaded.", ("model", "outcome")),
}
# name: (help, labels, bounds)
_HISTOGRAMS = {
    "gomlx_request_seconds": (
        "Seconds from a request's last byte to its answer.",
        ("model",),
        SECONDS,
    ),
    "gomlx_model_run_seconds": ("Seconds a run of a model took.", ("model",), SECONDS),
    "gomlx_batch_rows": ("Rows that ran together.", ("model",), ROWS),
}


class State:
    """A metric that is read when it is asked for: its samples say it all."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.samples: list[tuple[Sequence[str], float]] = []

    def add(self, value: float, *labels: str) -> None:
        self.samples.append((labels, value))


class Metrics:
    """The metrics of one worker process."""

    def __init__(self, directory: Path, slot: int) -> None:
        # prometheus_client reads the variable when it is imported, and the value
        # class when a metric is made: both must be set before either.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        from prometheus_client import CollectorRegistry, Counter, Histogram, values

        values.ValueClass = values.MultiProcessValue(lambda: slot)
        registry = CollectorRegistry()
        self._directory = directory
        self._families: dict[str, Any] = {
            name: Counter(name, text, labels, registry=registry)
            for name, (text, labels) in _COUNTERS.items()
        }
        self._families |= {
            name: Histogram(name, text, labels, buckets=bounds, registry=registry)
            for name, (text, labels, bounds) in _HISTOGRAMS.items()
        }
        self._counts: dict[tuple[str, ...], tuple[Count, Any]] = {}
        self._spreads: dict[tuple[str, ...], tuple[Spread, Any]] = {}

    def count(self, name: str, *labels: str) -> Count:
        """Return the counter with these label values."""
        key = (name, *labels)
        if key not in self._counts:
            self._counts[key] = Count(), self._families[name].labels(*labels)
        return self._counts[key][0]

    def spread(self, name: str, *labels: str) -> Spread:
        """Return the histogram with these label values."""
        key = (name, *labels)
        if key not in self._spreads:
            bounds = _HISTOGRAMS[name][2]
            self._spreads[key] = Spread(bounds), self._families[name].labels(*labels)
        return self._spreads[key][0]

    def flush(self) -> None:
        """Hand what was counted since the last flush to prometheus_client."""
        for count, counter in self._counts.values():
            if count.n:
                counter.inc(count.n)
                count.n = 0
        for spread, histogram in self._spreads.values():
            if any(spread.counts):
                _add(histogram, spread)

    def exposition(self, states: Iterable[State]) -> bytes:
        """Return the text format, summed over all workers, with states added."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._directory))
        registry.register(_States(states))
        return generate_latest(registry)


class _States:
    """prometheus_client's Collector protocol over states."""

    def __init__(self, states: Iterable[State]) -> None:
        self._states = states

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for state in self._states:
            is_counter = state.name.endswith("_total")
            family = CounterMetricFamily if is_counter else GaugeMetricFamily
            metric = family(state.name, state.text, labels=state.labels)
            for labels, value in state.samples:
                metric.add_metric(labels, value)
            yield metric


def _add(histogram: Any, spread: Spread) -> None:
    # prometheus_client can only observe one value at a time; its buckets are plain
    # counters, which a test checks against observe().
    for bucket, n in zip(histogram._buckets, spread.counts, strict=True):
        if n:
            bucket.inc(n)
    histogram._sum.inc(spread.total)
    spread.counts = [0] * len(spread.counts)
    spread.total = 0.0
