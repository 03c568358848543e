"""The metrics of one worker process, and their way to what all workers share.

    instruments.py ─► Metrics.flush ─► tally.py's files ─┬► exposition.py
                                                         └► Metrics.read

The request path counts in plain attributes; `Metrics.flush` moves the counts into the
file of this worker's slot a few times a second. The files are named by slot, not by
process, so that they do not pile up as workers are recycled.
"""

from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any

from gomlx.metrics.declarations import HISTOGRAMS
from gomlx.metrics.distinct import RecentValues, distinct_values
from gomlx.metrics.exposition import ScrapedMetric, exposition
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from gomlx.metrics.processes import process_metrics
from gomlx.metrics.states import GAUGES
from gomlx.metrics.tally import NONE, Counts, Series, SeriesKey, Sums, Tally, read_all


class Metrics:
    """The metrics of one worker process. directory holds the files of all slots.

    values: a sample of those of rows that missed.
    """

    def __init__(self, directory: Path, slot: int) -> None:
        self._directory = directory
        self.values = RecentValues(directory, slot)
        self._tally = Tally(directory, slot)
        self._counters: dict[SeriesKey, Counter] = {}
        self._histograms: dict[SeriesKey, Histogram] = {}
        self._gauges: dict[SeriesKey, Gauge] = {}
        for reason in ("ended", "died"):
            restarts = self.counter("gomlx_worker_restarts", reason)
            restarts.n += reason == self._tally.predecessor
        self._tally.write()  # that this worker runs

    def counter(self, name: str, *labels: str) -> Counter:
        """Return the counter with these label values."""
        key = (name, *labels)
        if key not in self._counters:
            self._counters[key] = Counter()
            self._tally.add(key, NONE)
        return self._counters[key]

    def histogram(self, name: str, *labels: str) -> Histogram:
        """Return the histogram with these label values."""
        key = (name, *labels)
        if key not in self._histograms:
            self._histograms[key] = histogram = Histogram(HISTOGRAMS[name].bounds)
            self._tally.add(key, NONE, histogram.counts)
        return self._histograms[key]

    def gauge(self, name: str, *labels: str) -> Gauge:
        """Return the gauge with these label values; of a model they begin with it."""
        return self._gauges.setdefault((name, *labels), Gauge())

    def keep_models(self, models: Container[str]) -> None:
        """Forget the gauges of all other models; what was counted of them stays."""
        for key in [*self._gauges]:
            if GAUGES[key[0]].labels[:1] == ("model",) and key[1] not in models:
                del self._gauges[key]
                self._tally.unset(key)

    def labels(self, name: str) -> list[SeriesKey]:
        """Return the label values that `counter` has had for a name, oldest first."""
        return [key[1:] for key in self._counters if key[0] == name]

    def fold(self) -> None:
        """Fold every histogram; done often, so that it never takes long."""
        for histogram in self._histograms.values():
            histogram.fold()

    def flush(self) -> None:
        """Move the counts since the last flush to the file that workers share."""
        for key, counter in self._counters.items():
            if n := counter.n:
                counter.n = 0
                self._tally.add(key, Sums(n))
        for key, histogram in self._histograms.items():
            if any(histogram.counts):
                drained = histogram.drain()
                self._tally.add(key, drained.sums, drained.counts)
        for key, gauge in self._gauges.items():
            self._tally.set(key, gauge.value)
        self._tally.write()

    def close(self) -> None:
        """Flush for the last time: a stopped worker has no state."""
        self.flush()
        self._tally.end()
        self._tally.write()

    def read(self) -> Series:
        """Return what all workers have flushed, in total and by minute."""
        return read_all(self._directory).series

    def counts(self) -> Counts:
        """Return all that all workers have flushed."""
        return read_all(self._directory)

    def distinct_values(self, versions: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Return what all workers have sampled of these versions of models."""
        return distinct_values(self._directory, versions)

    def exposition(self, scraped: Iterable[ScrapedMetric]) -> bytes:
        """Return the text format of all workers' metrics and the scraped ones."""
        counts = read_all(self._directory)
        return exposition(counts, [*scraped, *process_metrics(counts.workers)])
