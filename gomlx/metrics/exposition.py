"""The metrics of all workers in Prometheus' text format."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.utils import floatToGoString

from gomlx.metrics.declarations import COUNTERS, HISTOGRAMS
from gomlx.metrics.states import GAUGES, SCRAPED
from gomlx.metrics.tally import ALL, Counts, SeriesKey

T = TypeVar("T")


class ScrapedMetric:
    """A metric whose samples are read when Prometheus scrapes it, not counted.

    name: one of SCRAPED. Its type is counter if that ends in `_total`, else gauge.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.declaration = SCRAPED[name]
        self.samples: list[tuple[Sequence[str], float]] = []

    def add(self, value: float, *labels: str) -> None:
        """Add the sample with these label values."""
        self.samples.append((labels, value))


def exposition(counts: Counts, scraped: Iterable[ScrapedMetric]) -> bytes:
    """Return the text format: what all workers have counted, then the scraped
    metrics."""
    registry = CollectorRegistry()
    registry.register(_Collector([*_counted(counts), *map(_family, scraped)]))
    return generate_latest(registry)


class _Collector:
    """prometheus_client's Collector protocol over metrics that are complete."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _counted(counts: Counts) -> Iterator[Metric]:
    """Yield the metrics of which there is a series."""
    yield from _counters(counts)
    yield from _histograms(counts)
    for name, one in GAUGES.items():
        if series := _series_of(name, counts.gauges):
            gauge = GaugeMetricFamily(name, one.help, labels=one.labels)
            for labels, value in series:
                gauge.add_metric(labels, value)
            yield gauge


def _counters(counts: Counts) -> Iterator[Metric]:
    for name, one in COUNTERS.items():
        if series := _series_of(name, counts.series):
            counter = CounterMetricFamily(name, one.help, labels=one.labels)
            for labels, periods in series:
                counter.add_metric(labels, periods[ALL].n)
            yield counter


def _histograms(counts: Counts) -> Iterator[Metric]:
    for name, one in HISTOGRAMS.items():
        if series := _series_of(name, counts.series):
            histogram = HistogramMetricFamily(name, one.help, labels=one.labels)
            bounds = [*map(floatToGoString, one.bounds), "+Inf"]
            for labels, periods in series:
                upto = accumulate(counts.buckets[(name, *labels)])
                buckets = [*zip(bounds, upto, strict=True)]
                histogram.add_metric(labels, buckets, periods[ALL].total)
            yield histogram


def _series_of(
    name: str, series: Mapping[SeriesKey, T]
) -> list[tuple[tuple[str, ...], T]]:
    """Return the label values of a metric's series, and what each has, in order."""
    found = [(key[1:], value) for key, value in series.items() if key[0] == name]
    return sorted(found, key=lambda one: one[0])


def _family(metric: ScrapedMetric) -> Metric:
    is_counter = metric.name.endswith("_total")
    family_type = CounterMetricFamily if is_counter else GaugeMetricFamily
    declared = metric.declaration
    family = family_type(metric.name, declared.help, labels=declared.labels)
    for labels, value in metric.samples:
        family.add_metric(labels, value)
    return family
