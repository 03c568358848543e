"""Every metric, declared once, with its unit.

The request path counts in plain attributes (`count.n += 1`, 30 ns); `Metrics.flush`
moves the counts into prometheus_client's shared files a few times a second (1-2 us
each) and into our own (tally.py). The files are named by worker slot, not by process,
so that they do not pile up as workers are recycled.
"""

import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from math import inf
from pathlib import Path
from typing import Any

from gomlx.metrics.tally import Key, Series, Sums, Tally, read_all


class Counter:
    """Events since the last flush. For one thread."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n = 0


class Histogram:
    """Measured values since the last flush, by bucket. For one thread.

    PERF: `add` is a list's append, and many values are sorted into buckets at once: a
    fifth of the cost of doing so one by one (loadtests/counting.py).
    """

    __slots__ = ("_counts", "_sums", "_values", "add", "bounds")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self._values: list[float] = []
        self.add = self._values.append
        self._counts, self._sums = [0] * (len(bounds) + 1), Sums()

    def fold(self) -> None:
        """Sort what was added into buckets, so that it does not pile up."""
        if not self._values:
            return
        values = sorted(self._values)
        self._values.clear()
        self._sums = self._sums.plus(
            Sums(len(values), sum(values), values[0], values[-1])
        )
        before = 0
        for i, bound in enumerate((*self.bounds, inf)):
            upto = bisect_right(values, bound, before)
            self._counts[i] += upto - before
            before = upto

    @property
    def counts(self) -> list[int]:
        """How many values there are in each bucket."""
        self.fold()
        return self._counts

    @property
    def sums(self) -> Sums:
        self.fold()
        return self._sums

    def take(self) -> tuple[list[int], Sums]:
        """Return the counts by bucket and the sums, and begin again."""
        taken = self.counts, self.sums
        self._counts, self._sums = [0] * (len(self.bounds) + 1), Sums()
        return taken


class Gauge:
    """A state of this worker; of all workers, the greatest value is shown."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0.0


SECONDS = (
    *(1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2),
    *(2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
LAG_SECONDS = (2.5e-3, 5e-3, 1e-2, 2e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
ROWS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)

# name: (help, labels)
_COUNTERS = {
    "gomlx_requests": ("Requests, by model and HTTP status.", ("model", "code")),
    "gomlx_requests_canceled": (
        "Requests whose client had closed its side before the answer.",
        ("model",),
    ),
    "gomlx_cache_lookups": (
        "Rows looked up in a tier, by outcome: hit; miss; late (no answer in time); "
        "bad (no answer of ours); failed; skipped (the tier is not asked for now).",
        ("datastore", "tier", "outcome"),
    ),
    "gomlx_cache_writes": (
        "Rows to write to a tier, by outcome: written; dropped (the queue was full, "
        "the answer too long, or writes fail just now); failed.",
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
    "gomlx_refusal_seconds": (
        "Seconds from a request's last byte to the error that answers it, or to its "
        "client's leaving.",
        ("model",),
        SECONDS,
    ),
    "gomlx_cache_seconds": (
        "Seconds a look-up in a tier took, of all rows asked for at once.",
        ("datastore", "tier"),
        SECONDS,
    ),
    "gomlx_model_run_seconds": ("Seconds a run of a model took.", ("model",), SECONDS),
    "gomlx_batch_rows": ("Rows that ran together.", ("model",), ROWS),
    "gomlx_loop_lag_seconds": (
        "Seconds that an event loop was late to a beat, of 100 a second, if over 1 ms.",
        ("worker",),
        LAG_SECONDS,
    ),
}
# name: (help, labels); of all workers, the greatest value
_GAUGES = {
    "gomlx_tier_state": (
        "The circuit breaker of a tier: 0 closed, 1 half-open, 2 open.",
        ("datastore", "tier"),
    ),
}


class ScrapedMetric:
    """A metric that is read when it is asked for: its samples say it all."""

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name, self.text, self.labels = name, text, labels
        self.samples: list[tuple[Sequence[str], float]] = []

    def add(self, value: float, *labels: str) -> None:
        self.samples.append((labels, value))


class Metrics:
    """The metrics of one worker process.

    directory is for prometheus_client's files, tallies for our own.
    """

    def __init__(self, directory: Path, slot: int, tallies: Path | None = None) -> None:
        # prometheus_client reads the variable when it is imported, and the value
        # class when a metric is made: both must be set before either.
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
        import prometheus_client as prometheus
        from prometheus_client import values

        values.ValueClass = values.MultiProcessValue(lambda: slot)
        options: Any = {"registry": prometheus.CollectorRegistry()}
        self._directory = directory
        self._tallies = tallies or directory
        self._tally = Tally(self._tallies, slot)
        self._families: dict[str, Any] = {
            name: prometheus.Counter(name, text, labels, **options)
            for name, (text, labels) in _COUNTERS.items()
        }
        self._families |= {
            name: prometheus.Histogram(name, text, labels, buckets=bounds, **options)
            for name, (text, labels, bounds) in _HISTOGRAMS.items()
        }
        options["multiprocess_mode"] = "max"
        self._families |= {
            name: prometheus.Gauge(name, text, labels, **options)
            for name, (text, labels) in _GAUGES.items()
        }
        self._counts: dict[Key, tuple[Counter, Any]] = {}
        self._spreads: dict[Key, tuple[Histogram, Any]] = {}
        self._gauges: dict[Key, tuple[Gauge, Any]] = {}

    def counter(self, name: str, *labels: str) -> Counter:
        """Return the counter with these label values."""
        key = (name, *labels)
        if key not in self._counts:
            self._counts[key] = Counter(), self._families[name].labels(*labels)
        return self._counts[key][0]

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Return the histogram with these label values."""
        key = (name, *labels)
        if key not in self._spreads:
            bounds = _HISTOGRAMS[name][2]
            self._spreads[key] = Histogram(bounds), self._families[name].labels(*labels)
        return self._spreads[key][0]

    def gauge(self, name: str, *labels: str) -> Gauge:
        """Return the gauge with these label values."""
        key = (name, *labels)
        if key not in self._gauges:
            self._gauges[key] = Gauge(), self._families[name].labels(*labels)
        return self._gauges[key][0]

    def labels(self, name: str) -> list[Key]:
        """Return the label values that a counter was asked for with, in that order."""
        return [key[1:] for key in self._counts if key[0] == name]

    def fold(self) -> None:
        """Tidy up what was measured, so often that it never takes long."""
        for spread, _ in self._spreads.values():
            spread.fold()

    def flush(self) -> None:
        """Hand what was counted since the last flush to what all workers share."""
        for key, (count, counter) in self._counts.items():
            if n := count.n:
                count.n = 0
                counter.inc(n)
                self._tally.add(key, Sums(n))
        for key, (spread, histogram) in self._spreads.items():
            if any(spread.counts):
                counts, sums = spread.take()
                _add(histogram, counts, sums.total)
                self._tally.add(key, sums)
        for gauge, family in self._gauges.values():
            family.set(gauge.value)
        self._tally.write()

    def close(self) -> None:
        """Flush for the last time. A worker that ends has no state any more."""
        for gauge, _ in self._gauges.values():
            gauge.value = 0.0
        self.flush()

    def read(self) -> Series:
        """Return what all workers have flushed, in all and by minute."""
        return read_all(self._tallies)

    def exposition(self, states: Iterable[ScrapedMetric]) -> bytes:
        """Return the text format, summed over all workers, with states added."""
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector

        registry = CollectorRegistry()
        MultiProcessCollector(registry, str(self._directory))
        registry.register(_ScrapedMetrics(states))
        return generate_latest(registry)


class _ScrapedMetrics:
    """prometheus_client's Collector protocol over states."""

    def __init__(self, states: Iterable[ScrapedMetric]) -> None:
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


def _add(histogram: Any, counts: Sequence[int], total: float) -> None:
    # prometheus_client can only observe one value at a time; its buckets are plain
    # counters, which a test checks against observe().
    for bucket, n in zip(histogram._buckets, counts, strict=True):
        if n:
            bucket.inc(n)
    histogram._sum.inc(total)
