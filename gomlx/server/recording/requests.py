"""Requests whose steps are recorded, for a trace.

They take the path of all others (model.py), with watchers in place of the parts whose
times are wanted: the batcher and the shared tiers. What is not recorded meets none.

    Recorder.predict ─► ModelPredictor.predict_watched ─► … ─► RecordedRequester.reply
                          └► WatchedVersion, WatchedLookups ─► Trace ◄┘
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from gomlx.server.body import BodyParts
from gomlx.server.predict.model import ModelPredictor
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import PendingRequest, Requester, WaitingRequest
from gomlx.server.recording.watching import Watch
from gomlx.tracing.parent import Parent
from gomlx.tracing.trace import Attributes, Trace


class ExportsTraces(Protocol):
    """Where recorded requests go."""

    def export(
        self, trace: Trace, name: str, times: tuple[float, float], outcome: Attributes
    ) -> None:
        """Send a request's span and those of its steps.

        times: when it arrived and was answered, by `perf_counter`.
        """

    async def close(self) -> None:
        """Send what is queued, for a moment."""


@dataclass(frozen=True)
class Recorder:
    """Answers requests, and records what they do.

    models: by name. tiers: what its span says of each shared tier, by name.
    """

    exporter: ExportsTraces
    models: Mapping[str, ModelPredictor]
    tiers: Mapping[str, Attributes] = field(default_factory=dict)

    def predict(
        self, name: str, requester: Requester, parent: Parent | None, about: Attributes
    ) -> None:
        """Answer a request for a model that is there. about: what its span tells."""
        trace = Trace(parent)
        recorded = RecordedRequester(requester, trace, self.exporter, about)
        self.models[name].predict_watched(recorded, Watch(trace, self.tiers))

    def stream(
        self, name: str, parent: Parent | None, about: Attributes
    ) -> "RecordedLines":
        """Return what answers the lines of a stream for a model that is there."""
        watch = Watch(Trace(parent), self.tiers)
        return RecordedLines(self.models[name], watch, self.exporter, about)

    async def close(self) -> None:
        """Send what is queued, for a moment: this process is about to end."""
        await self.exporter.close()


class RecordedRequester:
    """A Requester whose reply ends a trace, and goes on to another requester."""

    def __init__(
        self,
        requester: Requester,
        trace: Trace,
        exporter: ExportsTraces,
        about: Attributes,
    ) -> None:
        self.text: bytes | str | BodyParts = requester.text
        self.arrived = requester.arrived
        self._requester = requester
        self._trace = trace
        self._exporter = exporter
        self._about = about

    @property
    def timeout_seconds(self) -> float:
        """How long the request waits for its answers."""
        return self._requester.timeout_seconds

    @property
    def request_id(self) -> str:
        """What it is called in logs and traces."""
        return self._requester.request_id

    @property
    def pending(self) -> WaitingRequest | None:
        """What it waits for."""
        return self._requester.pending

    @pending.setter
    def pending(self, pending: WaitingRequest | None) -> None:
        self._requester.pending = pending

    def reply(self, reply: Reply) -> None:
        """Send the reply, and then the spans."""
        outcome: dict[str, str | int | float | bool] = {
            **self._about,
            "http.response.status_code": reply.status,
        }
        if request_id := self._requester.request_id:
            outcome["gomlx.request_id"] = request_id
        if reply.version:
            outcome["gomlx.version"] = reply.version
            outcome["gomlx.cache_status"] = reply.cache_status
        pending = self._requester.pending
        if isinstance(pending, PendingRequest):
            outcome["gomlx.rows"] = len(pending.answers)
            outcome["gomlx.collapsed_rows"] = pending.collapsed
        self._requester.reply(reply)
        _export(self._exporter, self._trace, self.arrived, outcome)


class RecordedLines:
    """Answers the lines of one stream, and records what they do in one trace."""

    def __init__(
        self,
        model: ModelPredictor,
        watch: Watch,
        exporter: ExportsTraces,
        about: Attributes,
    ) -> None:
        self._model = model
        self._watch = watch
        self._exporter = exporter
        self._about = about
        self._began = perf_counter()
        self._lines = 0

    def predict(self, requester: Requester) -> None:
        """Answer a line."""
        self._lines += 1
        self._model.predict_watched(requester, self._watch)

    def end(self) -> None:
        """Send the spans: the stream has ended."""
        outcome = {
            **self._about,
            "http.response.status_code": 200,  # sent before the first line is read
            "gomlx.lines": self._lines,
        }
        _export(self._exporter, self._watch.trace, self._began, outcome)


def _export(
    exporter: ExportsTraces, trace: Trace, began: float, outcome: Attributes
) -> None:
    """Send the span of a request that ends now, and those of its steps."""
    name = f"{outcome['http.request.method']} {outcome['http.route']}"
    exporter.export(trace, name, (began, perf_counter()), outcome)
