"""One turn of the event loop: what it has read is answered together, and then sent.

every connection that has read a request ─► Turn.add
the end of the turn ─► ModelPredictor.predict, by model ─► each requester's reply
                       └► the next request of a pipeline ─► Turn.add ─► …
                    ─► TurnSender.send of all that have answers to write
                    ─► the batchers of models whose rows wait: some run
                    ─► TurnSender.send of the answers of each run
"""

import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Protocol

from gomlx.server.body import LARGE_BYTES
from gomlx.server.http.head import Head
from gomlx.server.order import preferred_first
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.request import Requester

log = logging.getLogger(__name__)

# What one turn answers takes some milliseconds at most: timers and the models' threads
# wait meanwhile.
_MAX_REQUESTS = 128
_MAX_BYTES = 1 << 17
_SHORT_BYTES = 1 << 12  # of a text that is read in less than 0.1 ms
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


class Carried:
    """What turns have answered, received and sent.

    requests: how many since the start. received_bytes: of their bodies and query
    strings, and sent_bytes: of responses with their heads, until somebody takes them.
    """

    __slots__ = ("received_bytes", "requests", "sent_bytes")

    def __init__(self) -> None:
        self.requests = 0
        self.received_bytes = 0
        self.sent_bytes = 0


class Turn:
    """The requests and the answers that wait for the end of this turn.

    call_soon: an event loop's. carried: by all turns. predictor: what answers them.
    brought: how many requests the turn that ends has.
    """

    def __init__(
        self, predictor: Predictor, call_soon: Callable[[Callable[[], None]], object]
    ) -> None:
        self.carried = Carried()
        self.brought = 0
        self.predictor = predictor
        self._models = predictor.models
        self._call_soon = call_soon
        self._requesters: list[HotRequester] = []
        self._senders: list[TurnSender] = []
        self._callbacks: list[Callable[[], None]] = []
        self._arrived = 0.0  # the first request of this turn, by perf_counter; 0: none
        # Also while the turn ends: only what is left then needs another one.
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
        size = len(answer)
        self.carried.sent_bytes += size
        if size > _LARGE_BYTES:
            sender.send()

    def will_flush(self, sender: TurnSender) -> None:
        """Have what a sender holds itself sent at the end of this turn."""
        self._senders.append(sender)
        if not self._is_scheduled:
            self._schedule()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Have a callback called at the end of this turn, after answers are sent.

        What it has answered is sent after it. One that a callback adds is called at the
        end of the next turn.
        """
        self._callbacks.append(callback)
        if not self._is_scheduled:
            self._schedule()

    def _schedule(self) -> None:
        self._is_scheduled = True
        self._call_soon(self._end)

    def _end(self) -> None:
        """Answer the requests, and the next ones of pipelines; send; call back."""
        try:
            self._answer()
            self._send()
            if self._callbacks:
                self._call_back()
        finally:
            self._is_scheduled = False
            if self._requesters or self._callbacks or self._senders:
                self._schedule()

    def _answer(self) -> None:
        """Answer as many requests as one turn does."""
        requests = 0
        size = 0
        while self._requesters and requests < _MAX_REQUESTS and size < _MAX_BYTES:
            room = _MAX_REQUESTS - requests
            if len(self._requesters) > room:  # the loop is behind
                is_hit = self._is_likely_hit
                self._requesters = preferred_first(self._requesters, is_hit, room)
            batch = self._requesters[:room]
            for requester in batch:
                size += len(requester.text)
            if size < _MAX_BYTES:
                del self._requesters[: len(batch)]
            else:
                batch = self._short_first(room)
            requests += len(batch)
            self._predict(batch if size < LARGE_BYTES else self._small(batch))
        self.brought = requests
        self.carried.requests += requests
        self.carried.received_bytes += size
        self._arrived = 0.0

    def _is_likely_hit(self, requester: HotRequester) -> bool:
        """Whether a request is to be answered before others, most of them refused."""
        return self._models[requester.head.model].recognizes(requester.text)

    def _short_first(self, most: int) -> list[HotRequester]:
        """Take requests with short texts, and then as many others as a turn has.

        A hit does not wait for a dozen texts of 60 KB; one of these is in every turn.
        """
        short = [one for one in self._requesters if len(one.text) < _SHORT_BYTES]
        long = [one for one in self._requesters if len(one.text) >= _SHORT_BYTES]
        first = _fitting(short, most - 1)
        then = _fitting(long, most - len(first))
        self._requesters = short[len(first) :] + long[len(then) :]
        return first + then

    def _send(self) -> None:
        senders = self._senders
        if senders:
            self._senders = []
            for sender in senders:
                sender.send()

    def _call_back(self) -> None:
        callbacks = self._callbacks
        self._callbacks = []
        for callback in callbacks:
            try:
                callback()
            except Exception:  # a bug of one is not another's
                log.exception("a bug at the end of a turn")
            # The peers then send their next requests together, and the next run has
            # all of their rows, not half of them.
            self._send()

    def _small(self, batch: Sequence[HotRequester]) -> list[HotRequester]:
        """Have large texts parsed in a thread; return the other requests."""
        for requester in batch:
            if len(requester.text) >= LARGE_BYTES:
                self._models[requester.head.model].predict_large(requester)
        return [one for one in batch if len(one.text) < LARGE_BYTES]

    def _predict(self, batch: list[HotRequester]) -> None:
        while batch:
            model = batch[0].head.model
            of_model = batch
            batch = []
            if len(of_model) > 1:  # PERF: nearly always of one model all the same
                batch = [one for one in of_model if one.head.model != model]
            if batch:
                of_model = [one for one in of_model if one.head.model == model]
            try:
                # PERF: a hot route is one of a model that the predictor has.
                self._models[model].predict(of_model)
            except Exception as error:  # one model's bug is not another's
                ids = [one.request_id for one in of_model if one.request_id]
                where = f", requests {' '.join(ids)}" if ids else ""
                log.error("model %s%s: a bug", model, where, exc_info=error)
                for requester in of_model:
                    requester.fail()


def _fitting(requesters: list[HotRequester], most: int) -> list[HotRequester]:
    """Return as many of the first requesters as a turn has time for."""
    size = 0
    for n, requester in enumerate(requesters[:most], 1):
        size += len(requester.text)
        if size >= _MAX_BYTES:
            return requesters[:n]
    return requesters[:most]
