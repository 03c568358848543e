"""What a client has done: counts and seconds, as a dict or for Prometheus."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

SECONDS = (
    *(2e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3),
    *(1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
LOCAL, REDIS, SERVER = "local", "redis", "server"


class Spread:
    """Seconds that calls took."""

    __slots__ = ("buckets", "total")

    def __init__(self) -> None:
        self.buckets = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.buckets[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    @property
    def count(self) -> int:
        return sum(self.buckets)


class ClientMetrics:
    """Counted in plain attributes, without a lock: a thread may lose one now and then.

    calls: by outcome (`ok` or the name of an error) and the furthest tier that was
    asked. rows: by the tier that knew them. lookups, of rows in the shared tier: hit,
    miss and bad: what is there is no answer. requests: answered, failed, retried and
    hedged. refreshes: changed, unchanged and failed.
    """

    def __init__(self) -> None:
        self.local = (
            Spread()
        )  # calls that were answered here: counted without a look-up
        self.local_rows = 0
        self._calls: dict[tuple[str, str], Spread] = {("ok", LOCAL): self.local}
        self._rows: Counter[str] = Counter()
        self.lookups: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.refreshes: Counter[str] = Counter()

    def call(self, outcome: str, tier: str, seconds: float) -> None:
        self._calls.setdefault((outcome, tier), Spread()).add(seconds)

    def row(self, tier: str, rows: int) -> None:
        self._rows[tier] += rows

    @property
    def rows(self) -> dict[str, int]:
        return {**self._rows, LOCAL: self.local_rows + self._rows[LOCAL]}

    @property
    def calls(self) -> dict[tuple[str, str], Spread]:
        return dict(self._calls)

    def as_dict(self) -> dict[str, Any]:
        """Return all counts; seconds are sums."""
        calls: dict[str, dict[str, Any]] = {}
        for (outcome, tier), spread in self.calls.items():
            told = {"count": spread.count, "seconds": spread.total}
            calls.setdefault(outcome, {})[tier] = told
        return {
            "calls": calls,
            "rows": self.rows,
            "lookups": dict(self.lookups),
            "requests": dict(self.requests),
            "refreshes": dict(self.refreshes),
        }


class Collector:
    """What prometheus_client's registries take: `REGISTRY.register(collector)`.

    clients: the model and the metrics of each.
    """

    def __init__(self, clients: Sequence[tuple[str, ClientMetrics]]) -> None:
        self._clients = clients

    def collect(self) -> Iterable[Any]:
        """Yield the families of metrics."""
        # Whoever has a registry to give this to has the library.
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        seconds = HistogramMetricFamily(
            "gomlx_client_call_seconds",
            "Calls, by outcome and the furthest tier that was asked.",
            labels=("model", "outcome", "tier"),
        )
        for model, metrics in self._clients:
            for (outcome, tier), spread in metrics.calls.items():
                labels = (model, outcome, tier)
                seconds.add_metric(labels, _cumulative(spread), spread.total)
        yield seconds
        for name, text, label in (
            ("rows", "Rows, by the tier that knew them.", "tier"),
            ("lookups", "Rows looked up in the shared tier.", "outcome"),
            ("requests", "Requests sent.", "outcome"),
            ("refreshes", "Looks for a version.", "outcome"),
        ):
            family = CounterMetricFamily(
                f"gomlx_client_{name}", text, labels=("model", label)
            )
            for model, metrics in self._clients:
                for value, n in dict(getattr(metrics, name)).items():
                    family.add_metric((model, value), n)
            yield family


def _cumulative(spread: Spread) -> list[tuple[str, float]]:
    total, found = 0, []
    for bound, n in zip((*map(str, SECONDS), "+Inf"), spread.buckets, strict=True):
        total += n
        found.append((bound, float(total)))
    return found
