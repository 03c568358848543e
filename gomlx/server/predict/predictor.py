"""The request path, from the texts of questions to the bytes of their replies.

    ask             questions → canonical rows → keys → tiers: of one turn, together
     ├ _answer      all rows of a request are known: replied to
     └ _wait        hold the version until the last answer
        └ Misses    the rows still missing, each landing by call-back (misses.py)
           └ ended  the reply, or what went wrong

Nothing here waits: an asker's `reply` is called at once or later, always once; unless
its client leaves before.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from time import perf_counter
from typing import cast

from gomlx.errors import GomlxError, InternalError, ModelNotFound
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.server.predict.misses import CachePolicy, Misses
from gomlx.server.predict.parse import ParsedRequest, RequestParser
from gomlx.server.predict.request import (
    Call,
    Done,
    PendingRequest,
    Reply,
    Requester,
    answered,
    hit_status,
    refusal,
)

log = logging.getLogger(__name__)


# Who asks, what, and the answers that are known.
_Waiting = tuple[Requester, ParsedRequest, list[bytes | None]]
_CLIENT_LEFT = "499"  # as nginx has it; no client sees it


class ModelPredictor:
    """The path of the requests for one model, and what is made for its live version."""

    def __init__(
        self,
        name: str,
        caching: CachePolicy,
        max_rows: int,
        shared: tuple[Current, Misses, Metrics],
    ) -> None:
        """shared: what all models of a worker have in common."""
        self._name, self._configured, self._max_rows = name, caching, max_rows
        self._current, self._misses, self._metrics = shared
        self._caching = caching
        self._tier = caching.cache.name if caching.cache else ""
        self._one_hit = hit_status(1, False, self._tier)
        self._version, self._is_local = "", False
        self._parser: RequestParser  # of that version
        self._ok = self._metrics.counter("gomlx_requests", name, "200")
        self._seconds = self._metrics.histogram("gomlx_request_seconds", name)
        self._collapsed = self._metrics.counter("gomlx_flights_collapsed", name)

    def predict(self, requesters: Sequence[Requester]) -> None:
        """Answer requests together.

        PERF: what they have in common is done once, and each step for all of them
        before the next one (ARCHITECTURE.md).
        """
        try:
            live = self._current.require(self._name)
            if live.digest is not self._version:
                self._see(live)
            asked = self._parser.parse([requester.text for requester in requesters])
            known = self._known(asked)
        except Exception as error:
            for requester in requesters:
                self._refuse(requester, error)
            return
        pairs = zip(requesters, asked, strict=True)
        self._wait(live, self._answer(live, pairs, known))

    def _answer(
        self,
        live: LiveVersion,
        pairs: Iterable[tuple[Requester, ParsedRequest | Exception]],
        known: Mapping[bytes, bytes],
    ) -> list[_Waiting]:
        """Answer those whose rows are all known, and what is wrong; return the others.

        PERF: nothing waits, so nothing is held, and no Prediction is made.
        """
        waiting: list[_Waiting] = []
        now, arrived, seconds, start = perf_counter(), 0.0, 0.0, b""
        for requester, one in pairs:
            if isinstance(one, Exception):
                self._refuse(requester, one)
                continue
            rows, keys, _ = one
            found: list[bytes | None]
            if len(keys) == 1:  # PERF: as most are
                found = [known.get(keys[0])]
            else:
                found = [known.get(key) for key in keys] or [None] * len(rows)
            if None in found:
                waiting.append((requester, one, found))
                continue
            if requester.arrived != arrived:  # PERF: most have come in one turn
                arrived = requester.arrived
                seconds = now - arrived
                start = live.response_prefix(seconds)
            self._hit(requester, live, one, start, cast(list[bytes], found))
            self._seconds.add(seconds)
        return waiting

    def _hit(
        self,
        requester: Requester,
        live: LiveVersion,
        asked: ParsedRequest,
        start: bytes,
        found: list[bytes],
    ) -> None:
        if requester.text not in self._parser.recent:
            self._parser.remember(requester.text, asked)
        self._ok.n += 1
        is_batch = asked.is_batch
        how = hit_status(len(found), True, "") if is_batch else self._one_hit
        self._tell(requester, answered(live, start, found, is_batch, how))

    def _wait(self, live: LiveVersion, waiting: Sequence[_Waiting]) -> None:
        """Have the rows that are not known computed, for as many as there is room."""
        for requester, one, found in waiting:
            until = requester.arrived, requester.arrived + requester.seconds
            pending = PendingRequest(
                live, found, one.is_batch, until, (self, requester.reply)
            )
            try:
                self._fly(pending, one)
            except Exception as error:
                self._refuse(requester, error)
                continue
            pending.tier = self._tier
            live.pin()  # until all of its rows have landed
            requester.pending = pending

    def _fly(self, pending: PendingRequest, asked: ParsedRequest) -> None:
        """Raises Overloaded."""
        caching, misses, (rows, keys, _) = self._caching, self._misses, asked
        if self._is_local and len(keys) == 1:  # PERF: as most are
            misses.fly_one(pending, caching, rows[0], keys[0])
        elif caching.cache is None:
            pending.bypass = caching.bypass_reason
            misses.run(pending, rows)
        else:
            misses.fly(pending, caching, asked)

    def _refuse(self, requester: Requester, error: Exception) -> None:
        problem = error if isinstance(error, GomlxError) else _bug(self._name, error)
        self._tell(requester, self.refusal(problem, perf_counter() - requester.arrived))

    def _tell(self, requester: Requester, reply: Reply) -> None:
        try:
            requester.reply(reply)
        except Exception as error:  # one asker's bug is not another's
            _bug(self._name, error)

    def refusal(self, error: GomlxError, seconds: float) -> Reply:
        """Count a request that is not answered, and return what to say."""
        return _refused(self._metrics, self._name, error, seconds)

    def ended(self, pending: PendingRequest) -> None:
        """Answer a request that waits no longer."""
        self._misses.end(pending)
        if pending.collapsed:
            self._collapsed.n += pending.collapsed
        if pending.error is None:
            pending.done(pending.reply(self._count(pending.started)))
        else:
            seconds = perf_counter() - pending.started
            pending.done(self.refusal(pending.error, seconds))

    def all_completed(self, pending: PendingRequest) -> None:
        """Let go of the version: no computation is for the request any more."""
        pending.live.unpin()

    def _see(self, live: LiveVersion) -> None:
        """Make what is for one version alone."""
        self._version, self._caching = live.digest, self._configured
        if live.servable.description.unsteady:
            self._caching = CachePolicy(None, bypass_reason="unsteady-model")
        is_keyed = self._caching.cache is not None
        self._is_local = is_keyed and self._caching.is_local
        self._parser = RequestParser(
            live.signature, live.dictionary, self._max_rows, is_keyed
        )

    def _known(self, asked: Sequence[ParsedRequest | Exception]) -> dict[bytes, bytes]:
        """Return the answers that are known here and now."""
        cache = self._caching.cache
        if cache is None:
            return {}
        keys = [
            key for one in asked if isinstance(one, ParsedRequest) for key in one.keys
        ]
        return cache.get_many(keys) if keys else {}

    def _count(self, started: float) -> float:
        """Count a request that is answered; return its seconds."""
        self._ok.n += 1
        seconds = perf_counter() - started
        self._seconds.add(seconds)
        return seconds


class Predictor:
    """The request path of one worker. For one thread: the event loop's."""

    def __init__(
        self,
        current: Current,
        caching: Mapping[str, CachePolicy],
        max_rows: Mapping[str, int],
        metrics: Metrics,
    ) -> None:
        self._current, self._metrics = current, metrics
        self._misses = Misses(max_rows)
        shared = current, self._misses, metrics
        self._models = {
            name: ModelPredictor(name, how, max_rows[name], shared)
            for name, how in caching.items()
        }
        self.stopping = asyncio.Event()  # what would go on for ever ends then

    def check(self, name: str) -> None:
        """Raise what every question would now. Raises ModelNotFound, NotReady."""
        self._current.require(name)

    def has_room(self, name: str) -> bool:
        """Tell whether a model takes another row that is not known."""
        live = self._current.get(name)
        return live is None or live.batcher.has_room()

    def predict(self, name: str, requesters: Sequence[Requester]) -> None:
        """Answer requests for one model together."""
        if (model := self._models.get(name)) is not None:
            model.predict(requesters)
        else:
            for requester in requesters:
                requester.reply(self.refusal(name, ModelNotFound(name, self._models)))

    def submit(
        self, name: str, text: bytes | str, done: Done, seconds: float = inf
    ) -> PendingRequest | None:
        """Answer one JSON body, or a query string, within so many seconds.

        Returns what `leave` takes, or None when done was called already.
        """
        call = Call(text, done, perf_counter(), seconds)
        self.predict(name, [call])
        return call.pending

    def abandon(self, pending: PendingRequest) -> None:
        """Its client has gone: compute nothing for it alone, and never call done."""
        if pending.deadline:
            pending.deadline = 0.0
            self._misses.end(pending)
            self.count_abandoned(pending.name, perf_counter() - pending.started)

    def count_abandoned(self, name: str, seconds: float) -> None:
        """Count a request whose client had gone after so many seconds, unanswered."""
        self._metrics.counter("gomlx_requests", name, _CLIENT_LEFT).n += 1
        self._metrics.histogram("gomlx_refusal_seconds", name).add(seconds)
        self.count_canceled(name)

    def count_canceled(self, name: str) -> None:
        """Count a request whose client had gone before its answer."""
        self._metrics.counter("gomlx_requests_canceled", name).n += 1

    def refusal(self, name: str, error: GomlxError) -> Reply:
        """Count a request that is not answered, and return what to say."""
        label = name if name in self._models else "unknown"
        return _refused(self._metrics, label, error, 0.0)


def _refused(metrics: Metrics, label: str, error: GomlxError, seconds: float) -> Reply:
    metrics.counter("gomlx_requests", label, str(error.status)).n += 1
    metrics.histogram("gomlx_refusal_seconds", label).add(seconds)
    return refusal(error)


def _bug(name: str, error: Exception) -> GomlxError:
    log.error("model %s: a bug", name, exc_info=error)
    return InternalError()
