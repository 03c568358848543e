"""What is counted about requests, by model."""

from typing import Protocol

from gomlx.errors import GomlxError
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.server.predict.reply import Reply, refusal

_CLIENT_LEFT = "499"  # nginx' status for it; no client sees it


class RequestMetrics(Protocol):
    """Where counters and histograms come from: as much of `Metrics` as is needed."""

    def counter(self, name: str, /, *labels: str) -> Counter:
        """Return the counter with these label values."""

    def histogram(self, name: str, /, *labels: str) -> Histogram:
        """Return the histogram with these label values."""


class RefusalCounts:
    """Counts the requests for one model that get no answer.

    Each counter begins to exist with its first count.
    """

    def __init__(self, metrics: RequestMetrics, model: str) -> None:
        self._metrics = metrics
        self._model = model
        self._shared: tuple[GomlxError, Reply] | None = None

    def refusal(self, error: GomlxError, seconds: float) -> Reply:
        """Count a refused request, which took `seconds`; return the reply."""
        self._count(str(error.status), seconds)
        shared = self._shared
        if shared is not None and shared[0] is error:
            return shared[1]
        reply = refusal(error)
        if error.__traceback__ is None:  # not raised: others may get the same
            self._shared = (error, reply)
        return reply

    def abandoned(self, seconds: float) -> None:
        """Count a request whose client disconnected after `seconds`."""
        self._count(_CLIENT_LEFT, seconds)
        self.canceled()

    def canceled(self) -> None:
        """Count a request whose client closed its side before the reply."""
        self._metrics.counter("gomlx_requests_canceled", self._model).n += 1

    def _count(self, code: str, seconds: float) -> None:
        self._metrics.counter("gomlx_requests", self._model, code).n += 1
        self._metrics.histogram("gomlx_refusal_seconds", self._model).add(seconds)


class UnroutedCounts(RefusalCounts):
    """Counts the requests that are for no model: they are no errors of any."""

    def __init__(self, metrics: RequestMetrics) -> None:
        super().__init__(metrics, "")

    def canceled(self) -> None:
        """Count nothing: only a model's requests are counted as canceled, too."""

    def _count(self, code: str, seconds: float) -> None:
        self._metrics.counter("gomlx_unrouted_requests", code).n += 1


class ModelCounts:
    """What is counted about the requests for one model.

    ok: requests that are answered. seconds: what these took. collapsed: rows that
    joined a flight that was under way.
    """

    def __init__(self, metrics: RequestMetrics, name: str) -> None:
        self.ok = metrics.counter("gomlx_requests", name, "200")
        self.seconds = metrics.histogram("gomlx_request_seconds", name)
        self.collapsed = metrics.counter("gomlx_flights_collapsed", name)
        self.refusals = RefusalCounts(metrics, name)
