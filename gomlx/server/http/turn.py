"""One turn of the event loop: what it has read is answered together, and then sent.

    every connection that has read a request ─► Turn.add
    the end of the turn ─► ModelPredictor.predict, by model ─► each requester's reply
                           └► the next request of a pipeline ─► Turn.add ─► …
                        ─► TurnSender.send of all that have answers to write

The answers of misses come in between: they are sent after each run of a model.
"""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from gomlx.server.http.head import Head
from gomlx.server.predict.parse import LARGE_BYTES
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.request import Requester

log = logging.getLogger(__name__)

# What one turn answers takes some milliseconds at most: timers and the models' threads
# wait meanwhile.
_MAX_REQUESTS = 128
_MAX_BYTES = 1 << 17
_LARGE_BYTES = 1 << 14  # of an answer: it does not wait for the end of the turn


class HotRequester(Requester, Protocol):
    """One connection, and the request on it that is being answered."""

    head: Head

    def fail(self) -> None:
        """Reply with an internal error, unless the reply is to come."""


class TurnSender(Protocol):
    """One connection's answers that wait to be sent."""

    def send(self) -> None:
        """Send them, if there are any."""


class AnswerSender(TurnSender, Protocol):
    """One whose answers wait as bytes."""

    unsent: list[bytes]


class Turn:
    """The requests and the answers that wait for the end of this turn.

    call_soon: an event loop's. answered: how many requests were, since the start.
    predictor: what answers them.
    """

    def __init__(
        self, predictor: Predictor, call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self.answered = 0
        self.predictor = predictor
        self._models = predictor.models
        self._call_soon = call_soon
        self._requesters: list[HotRequester] = []
        self._senders: list[TurnSender] = []
        self._arrived = 0.0  # the first request of this turn, by perf_counter; 0: none
        self._is_scheduled = False

    def add(self, requester: HotRequester) -> None:
        """Have a request answered at the end of this turn.

        PERF: what was read from all connections is answered together, and then sent:
        each step for all before the next (docs/internals/request.md).
        """
        if not self._arrived:  # PERF: once a turn
            self._arrived = perf_counter()
        requester.arrived = self._arrived
        self._requesters.append(requester)
        if not self._is_scheduled:
            self._schedule()

    def abandon(self, requester: HotRequester) -> None:
        """Drop a connection's request: its peer has disconnected."""
        if requester.pending:
            self.predictor.abandon(requester.pending)
        elif requester in self._requesters:
            self._requesters.remove(requester)
            elapsed = perf_counter() - requester.arrived
            self.predictor.count_abandoned(requester.head.model, elapsed)

    def will_send(self, answer: bytes, sender: AnswerSender) -> None:
        """Have an answer sent at the end of this turn, or at once if it is large."""
        unsent = sender.unsent
        if not unsent:
            self._senders.append(sender)
            if not self._is_scheduled:
                self._schedule()
        unsent.append(answer)
        if len(answer) > _LARGE_BYTES:
            sender.send()

    def will_flush(self, sender: TurnSender) -> None:
        """Have what a sender holds itself sent at the end of this turn."""
        self._senders.append(sender)
        if not self._is_scheduled:
            self._schedule()

    def send(self) -> None:
        """Send the answers that wait.

        Called after each run of a model: the peers then send their next requests
        together, and the next run has all of their rows, not half of them.
        """
        senders = self._senders
        self._senders = []
        for sender in senders:
            sender.send()

    def _schedule(self) -> None:
        self._is_scheduled = True
        self._call_soon(self._end)

    def _end(self) -> None:
        """Answer the requests, and the next ones of pipelines; then send."""
        requests = 0
        size = 0
        try:
            while self._requesters and requests < _MAX_REQUESTS and size < _MAX_BYTES:
                batch: list[HotRequester] = []
                for requester in self._requesters[: _MAX_REQUESTS - requests]:
                    batch.append(requester)
                    size += len(requester.text)
                    if size >= _MAX_BYTES:
                        break
                del self._requesters[: len(batch)]
                requests += len(batch)
                self._predict(batch if size < LARGE_BYTES else self._small(batch))
            self.answered += requests
        finally:
            self._is_scheduled = False
            self._arrived = 0.0
            if self._requesters:
                self._schedule()
            self.send()

    def _small(self, batch: Sequence[HotRequester]) -> list[HotRequester]:
        """Have large texts parsed in a thread; return the other requests."""
        for requester in batch:
            if len(requester.text) >= LARGE_BYTES:
                self._models[requester.head.model].predict_large(requester)
        return [one for one in batch if len(one.text) < LARGE_BYTES]

    def _predict(self, batch: Sequence[HotRequester]) -> None:
        by_model: dict[str, list[HotRequester]] = {}
        for requester in batch:
            by_model.setdefault(requester.head.model, []).append(requester)
        for model, requesters in by_model.items():
            try:
                # PERF: a hot route is one of a model that the predictor has.
                self._models[model].predict(requesters)
            except Exception as error:  # one model's bug is not another's
                log.error("model %s: a bug", model, exc_info=error)
                for requester in requesters:
                    requester.fail()
