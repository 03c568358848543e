"""The metrics of one worker process, and their way to what all workers share.

    instruments.py ─► Metrics.flush ─┬► prometheus_client's files ─► exposition.py
                                     └► tally.py's files          ─► Metrics.read

The request path counts in plain attributes; `Metrics.flush` moves the counts into
prometheus_client's shared files a few times a second (1-2 us each) and into ours
(tally.py). The files are named by worker slot, not by process, so that they do not pile
up as workers are recycled.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from gomlx.metrics.declarations import COUNTERS, GAUGES, HISTOGRAMS
from gomlx.metrics.exposition import ScrapedMetric, exposition
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from gomlx.metrics.tally import Series, SeriesKey, Sums, Tally, read_all


class Metrics:
    """The metrics of one worker process.

    directory holds prometheus_client's files, tallies ours; by default both are in
    directory.
    """

    def __init__(self, directory: Path, slot: int, tallies: Path | None = None) -> None:
        self._directory = directory
        self._tallies = tallies or directory
        self._tally = Tally(self._tallies, slot)
        self._families = _families(directory, slot)
        self._counters: dict[SeriesKey, tuple[Counter, Any]] = {}
        self._histograms: dict[SeriesKey, tuple[Histogram, Any]] = {}
        self._gauges: dict[SeriesKey, tuple[Gauge, Any]] = {}

    def counter(self, name: str, *labels: str) -> Counter:
        """Return the counter with these label values."""
        key = (name, *labels)
        if key not in self._counters:
            self._counters[key] = Counter(), self._families[name].labels(*labels)
        return self._counters[key][0]

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Return the histogram with these label values."""
        key = (name, *labels)
        if key not in self._histograms:
            histogram = Histogram(HISTOGRAMS[name].bounds)
            self._histograms[key] = histogram, self._families[name].labels(*labels)
        return self._histograms[key][0]

    def gauge(self, name: str, *labels: str) -> Gauge:
        """Return the gauge with these label values."""
        key = (name, *labels)
        if key not in self._gauges:
            self._gauges[key] = Gauge(), self._families[name].labels(*labels)
        return self._gauges[key][0]

    def labels(self, name: str) -> list[SeriesKey]:
        """Return the label values that `counter` has had for a name, oldest first."""
        return [key[1:] for key in self._counters if key[0] == name]

    def fold(self) -> None:
        """Fold every histogram; done often, so that it never takes long."""
        for histogram, _ in self._histograms.values():
            histogram.fold()

    def flush(self) -> None:
        """Move the counts since the last flush to the files that workers share."""
        for key, (counter, family) in self._counters.items():
            if n := counter.n:
                counter.n = 0
                family.inc(n)
                self._tally.add(key, Sums(n))
        for key, (histogram, family) in self._histograms.items():
            if any(histogram.counts):
                drained = histogram.drain()
                _add(family, drained.counts, drained.sums.total)
                self._tally.add(key, drained.sums)
        for gauge, family in self._gauges.values():
            family.set(gauge.value)
        self._tally.write()

    def close(self) -> None:
        """Flush for the last time, with gauges at 0: a stopped worker has no state."""
        for gauge, _ in self._gauges.values():
            gauge.value = 0.0
        self.flush()

    def read(self) -> Series:
        """Return what all workers have flushed, in total and by minute."""
        return read_all(self._tallies)

    def exposition(self, scraped: Iterable[ScrapedMetric]) -> bytes:
        """Return the text format of all workers' metrics and the scraped ones."""
        return exposition(self._directory, scraped)


def _families(directory: Path, slot: int) -> dict[str, Any]:
    """Return prometheus_client's metric for every declaration, by name."""
    # prometheus_client reads the variable when it is imported, and the value class
    # when a metric is made: both must be set before either.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    import prometheus_client as prometheus
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: slot)
    registry = prometheus.CollectorRegistry()
    families: dict[str, Any] = {
        name: prometheus.Counter(name, one.help, one.labels, registry=registry)
        for name, one in COUNTERS.items()
    }
    for name, one in HISTOGRAMS.items():
        families[name] = prometheus.Histogram(
            name, one.help, one.labels, buckets=one.bounds, registry=registry
        )
    for name, gauge in GAUGES.items():
        families[name] = prometheus.Gauge(
            name, gauge.help, gauge.labels, multiprocess_mode="max", registry=registry
        )
    return families


def _add(family: Any, counts: Sequence[int], total: float) -> None:
    """Add values, already sorted into buckets, to prometheus_client's histogram."""
    # prometheus_client can only observe one value at a time; its buckets are plain
    # counters, which a test checks against observe().
    for bucket, n in zip(family._buckets, counts, strict=True):
        if n:
            bucket.inc(n)
    family._sum.inc(total)
