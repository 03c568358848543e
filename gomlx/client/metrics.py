"""What a client counts: calls, rows and seconds, as a dict or for Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

BOUNDS_SECONDS = (
    2e-6,
    5e-6,
    1e-5,
    2.5e-5,
    5e-5,
    1e-4,
    2.5e-4,
    5e-4,
    1e-3,
    2.5e-3,
    5e-3,
    1e-2,
    2.5e-2,
    5e-2,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)
LOCAL = "local"
REDIS = "redis"
SERVER = "server"


class CallSeconds:
    """A histogram of the seconds that calls took."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(BOUNDS_SECONDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.buckets)

    def cumulative(self) -> list[tuple[str, float]]:
        """Return each upper bound as text, with the calls that took no longer."""
        total = 0
        counts = []
        bounds = [*map(str, BOUNDS_SECONDS), "+Inf"]
        for bound, n in zip(bounds, self.buckets, strict=True):
            total += n
            counts.append((bound, float(total)))
        return counts


class ClientMetrics:
    """Counts in plain attributes, without a lock: threads may lose one now and then.

    calls: by outcome (`ok` or the name of an error) and the furthest tier that was
    needed. rows: by the tier that had them. lookups, of rows in the shared tier: hit,
    miss, and bad for a value that is not an answer. requests: answered, failed, retried
    and hedged. refreshes: changed, unchanged and failed.
    """

    def __init__(self) -> None:
        # Calls answered in the calling thread: counted without a look-up by tier.
        self.local = CallSeconds()
        self.local_rows = 0
        self._calls: dict[tuple[str, str], CallSeconds] = {("ok", LOCAL): self.local}
        self._rows: Counter[str] = Counter()
        self.lookups: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.refreshes: Counter[str] = Counter()

    def add_call(self, outcome: str, tier: str, seconds: float) -> None:
        self._calls.setdefault((outcome, tier), CallSeconds()).add(seconds)

    def add_rows(self, tier: str, rows: int) -> None:
        self._rows[tier] += rows

    @property
    def rows(self) -> dict[str, int]:
        return {**self._rows, LOCAL: self.local_rows + self._rows[LOCAL]}

    @property
    def calls(self) -> dict[tuple[str, str], CallSeconds]:
        return dict(self._calls)

    def as_dict(self) -> dict[str, Any]:
        """Return all counts; seconds are sums."""
        calls: dict[str, dict[str, Any]] = {}
        for (outcome, tier), histogram in self.calls.items():
            sums = {"count": histogram.count, "seconds": histogram.total}
            calls.setdefault(outcome, {})[tier] = sums
        return {
            "calls": calls,
            "rows": self.rows,
            "lookups": dict(self.lookups),
            "requests": dict(self.requests),
            "refreshes": dict(self.refreshes),
        }


class _CounterFamily(NamedTuple):
    """A counter of ClientMetrics for Prometheus: its attribute, help and label."""

    name: str
    help: str
    label: str


_COUNTERS = (
    _CounterFamily("rows", "Rows, by the tier that had their answers.", "tier"),
    _CounterFamily("lookups", "Rows looked up in the shared tier.", "outcome"),
    _CounterFamily("requests", "Requests sent.", "outcome"),
    _CounterFamily("refreshes", "Checks for a new version.", "outcome"),
)


class Collector:
    """The collector of some clients: `prometheus_client.REGISTRY.register(collector)`.

    clients: the model and the metrics of each.
    """

    def __init__(self, clients: Sequence[tuple[str, ClientMetrics]]) -> None:
        self._clients = clients

    def collect(self) -> Iterable[Any]:
        """Yield the families of metrics, as prometheus_client's registries want it."""
        yield self._call_seconds()
        yield from map(self._counter, _COUNTERS)

    def _call_seconds(self) -> Any:
        # A caller with a registry to register this with has the library.
        from prometheus_client.core import HistogramMetricFamily

        family = HistogramMetricFamily(
            "gomlx_client_call_seconds",
            "Calls, by outcome and the furthest tier that they needed.",
            labels=("model", "outcome", "tier"),
        )
        for model, metrics in self._clients:
            for (outcome, tier), histogram in metrics.calls.items():
                labels = (model, outcome, tier)
                family.add_metric(labels, histogram.cumulative(), histogram.total)
        return family

    def _counter(self, counter: _CounterFamily) -> Any:
        from prometheus_client.core import CounterMetricFamily

        family = CounterMetricFamily(
            f"gomlx_client_{counter.name}",
            counter.help,
            labels=("model", counter.label),
        )
        for model, metrics in self._clients:
            for value, n in dict(getattr(metrics, counter.name)).items():
                family.add_metric((model, value), n)
        return family
