"""The metrics of all workers in Prometheus' text format."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


class ScrapedMetric:
    """A metric whose samples are read when Prometheus scrapes it, not counted.

    Its type is counter if its name ends in `_total`, else gauge.
    """

    def __init__(self, name: str, text: str, labels: Sequence[str]) -> None:
        self.name = name
        self.text = text
        self.labels = labels
        self.samples: list[tuple[Sequence[str], float]] = []

    def add(self, value: float, *labels: str) -> None:
        """Add the sample with these label values."""
        self.samples.append((labels, value))


def exposition(directory: Path, scraped: Iterable[ScrapedMetric]) -> bytes:
    """Return the text format: prometheus_client's files summed over all workers, then
    the scraped metrics."""
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client.multiprocess import MultiProcessCollector

    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(directory))
    registry.register(_ScrapedCollector(scraped))
    return generate_latest(registry)


class _ScrapedCollector:
    """prometheus_client's Collector protocol over scraped metrics."""

    def __init__(self, scraped: Iterable[ScrapedMetric]) -> None:
        self._scraped = scraped

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for metric in self._scraped:
            is_counter = metric.name.endswith("_total")
            family_type = CounterMetricFamily if is_counter else GaugeMetricFamily
            family = family_type(metric.name, metric.text, labels=metric.labels)
            for labels, value in metric.samples:
                family.add_metric(labels, value)
            yield family
