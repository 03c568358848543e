"""The request path of one worker: which model a request is for.

Nothing here waits: a requester's `reply` is called at once or later, always once; only
if its client disconnects before, it is not called.
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from math import inf
from time import perf_counter
from typing import Any, NamedTuple

from gomlx.errors import GomlxError
from gomlx.models.serving.current import Current
from gomlx.models.version import model_of
from gomlx.server.body import LARGE_BYTES, BodyParts
from gomlx.server.predict.counts import (
    ModelCounts,
    RefusalCounts,
    RequestMetrics,
    UnroutedCounts,
)
from gomlx.server.predict.misses import Misses
from gomlx.server.predict.model import ModelPredictor
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import (
    CallbackRequester,
    OnReply,
    ParsingRequest,
    Requester,
    WaitingRequest,
)


class RowLimits(NamedTuple):
    """The most rows of one model that one request has, and that wait at a time."""

    request: int
    queued: int


class Predictor:
    """Answers the requests of one worker. For one thread: the event loop's.

    stopping: set when the worker stops, so that streams end. models: by name, for
    callers that know that a model is there.
    """

    def __init__(
        self,
        current: Current,
        policies: Mapping[str, CachePolicy],
        limits: Mapping[str, RowLimits],
        metrics: RequestMetrics,
    ) -> None:
        """policies and limits are by configured model."""
        self.stopping = asyncio.Event()
        self._current = current
        self._policies = policies
        self._limits = limits
        self._metrics = metrics
        self._queued: dict[str, int] = {}
        self._misses = Misses(self._queued)
        self.models: dict[str, ModelPredictor] = {}
        self._refusals: dict[str, RefusalCounts] = {}
        for name in policies:
            self.add(name)
        self._unknown = UnroutedCounts(metrics)

    def add(self, name: str) -> None:
        """Answer requests for a model that has a slot, or a further signature."""
        if name not in self.models or self.models[name].is_gone:
            self._put(name)

    def _put(self, name: str) -> None:
        model = model_of(name)
        counts = ModelCounts(self._metrics, name)
        self._refusals[name] = counts.refusals
        self._queued[name] = self._limits[model].queued
        self.models[name] = self._model(
            name,
            self._policies[model],
            self._limits[model].request,
            self._current.slot(name),
            self._misses,
            counts,
        )

    def _model(self, name: str, *parts: Any) -> ModelPredictor:
        """Return what answers the requests for a model. parts: a ModelPredictor's."""
        return ModelPredictor(name, *parts)

    def configure(
        self,
        policies: Mapping[str, CachePolicy],
        limits: Mapping[str, RowLimits],
        changed: Collection[str],
    ) -> None:
        """Answer requests for these models, and no others, which have slots.

        changed: those for which something differs. Requests for one that is gone get a
        404; those that have come already still look for it among the models.
        """
        self._policies = policies
        self._limits = limits
        for name, model in [*self.models.items()]:
            if model.is_gone:
                self._refusals.pop(name, None)
                model.decide_again()
            elif model_of(name) in changed:
                self._put(name)
        for name in policies:
            self.add(name)

    def check(self, name: str) -> None:
        """Raise ModelNotFound or NotReady if every request for a model would get it."""
        self._current.require(name)

    def decide_again(self) -> None:
        """Decide again how answers are cached: what look-ups cost is known by now."""
        for model in self.models.values():
            model.decide_again()

    def has_room(self, name: str) -> bool:
        """Return whether another row that misses would be computed, not shed."""
        live = self._current.get(name)
        return live is None or live.batcher.has_room()

    def predict(self, name: str, requesters: Sequence[Requester]) -> None:
        """Answer requests for one model together."""
        if (model := self.models.get(name)) is not None:
            model.predict(requesters)
        else:
            for requester in requesters:
                requester.reply(self.refusal(name, self._current.unknown(name)))

    def submit(
        self,
        name: str,
        text: bytes | str | BodyParts,
        on_reply: OnReply,
        timeout_seconds: float = inf,
        request_id: str = "",
    ) -> WaitingRequest | None:
        """Answer one JSON body or query string (str), and call on_reply.

        Returns what `abandon` needs; None when on_reply was called already.
        """
        arrived = perf_counter()
        requester = CallbackRequester(
            text, on_reply, arrived, timeout_seconds, request_id
        )
        if len(text) >= LARGE_BYTES and name in self.models:
            self.models[name].predict_large(requester)
        else:
            self.predict(name, [requester])
        return requester.pending

    def abandon(self, pending: WaitingRequest) -> None:
        """Never reply to a request: its client has disconnected. Drop its rows.

        Does nothing once the request has ended.
        """
        if isinstance(pending, ParsingRequest):
            self._abandon_parsing(pending.requester)
        elif pending.abandon():
            self._misses.end(pending)
            seconds = perf_counter() - pending.requester.arrived
            self.count_abandoned(pending.name, seconds)

    def _abandon_parsing(self, requester: Requester) -> None:
        """Abandon a request that a thread was parsing; it may have been since."""
        pending = requester.pending
        if isinstance(pending, ParsingRequest):
            pending.is_abandoned = True
            requester.pending = None
            self.count_abandoned(pending.name, perf_counter() - requester.arrived)
        elif pending is not None:
            self.abandon(pending)

    def count_abandoned(self, name: str, seconds: float) -> None:
        """Count a request whose client disconnected before its reply."""
        self._refusals_of(name).abandoned(seconds)

    def count_canceled(self, name: str) -> None:
        """Count a request whose client closed its side before the reply."""
        self._refusals_of(name).canceled()

    def refusal(self, name: str, error: GomlxError) -> Reply:
        """Count a request that is refused, and return the reply."""
        return self._refusals_of(name).refusal(error, 0.0)

    def _refusals_of(self, name: str) -> RefusalCounts:
        return self._refusals.get(name, self._unknown)
