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
from gomlx.models.serving.current import Current, Live
from gomlx.server.predict.misses import Caching, Misses
from gomlx.server.predict.parse import Asked, Questions
from gomlx.server.predict.request import (
    Asker,
    Call,
    Done,
    Prediction,
    Reply,
    answered,
    hit_status,
    refusal,
)

log = logging.getLogger(__name__)


# Who asks, what, and the answers that are known.
_Waiting = tuple[Asker, Asked, list[bytes | None]]
_CLIENT_LEFT = "499"  # as nginx has it; no client sees it


class Model:
    """The path of the requests for one model, and what is made for its live version."""

    def __init__(
        self,
        name: str,
        caching: Caching,
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
        self._questions: Questions  # of that version
        self._ok = self._metrics.count("gomlx_requests", name, "200")
        self._seconds = self._metrics.spread("gomlx_request_seconds", name)
        self._collapsed = self._metrics.count("gomlx_flights_collapsed", name)

    def ask(self, askers: Sequence[Asker]) -> None:
        """Answer requests together.

        PERF: what they have in common is done once, and each step for all of them
        before the next one (ARCHITECTURE.md).
        """
        try:
            live = self._current.now(self._name)
            if live.version is not self._version:
                self._see(live)
            asked = self._questions.asked([asker.text for asker in askers])
            known = self._known(asked)
        except Exception as error:
            for asker in askers:
                self._refuse(asker, error)
            return
        pairs = zip(askers, asked, strict=True)
        self._wait(live, self._answer(live, pairs, known))

    def _answer(
        self,
        live: Live,
        pairs: Iterable[tuple[Asker, Asked | Exception]],
        known: Mapping[bytes, bytes],
    ) -> list[_Waiting]:
        """Answer those whose rows are all known, and what is wrong; return the others.

        PERF: nothing waits, so nothing is held, and no Prediction is made.
        """
        waiting: list[_Waiting] = []
        now, arrived, seconds, start = perf_counter(), 0.0, 0.0, b""
        for asker, one in pairs:
            if isinstance(one, Exception):
                self._refuse(asker, one)
                continue
            rows, keys, _ = one
            found: list[bytes | None]
            if len(keys) == 1:  # PERF: as most are
                found = [known.get(keys[0])]
            else:
                found = [known.get(key) for key in keys] or [None] * len(rows)
            if None in found:
                waiting.append((asker, one, found))
                continue
            if asker.arrived != arrived:  # PERF: most have come in one turn
                arrived = asker.arrived
                seconds = now - arrived
                start = live.start(seconds)
            self._hit(asker, live, one, start, cast(list[bytes], found))
            self._seconds.add(seconds)
        return waiting

    def _hit(
        self, asker: Asker, live: Live, asked: Asked, start: bytes, found: list[bytes]
    ) -> None:
        if asker.text not in self._questions.recent:
            self._questions.remember(asker.text, asked)
        self._ok.n += 1
        is_batch = asked.is_batch
        how = hit_status(len(found), True, "") if is_batch else self._one_hit
        self._tell(asker, answered(live, start, found, is_batch, how))

    def _wait(self, live: Live, waiting: Sequence[_Waiting]) -> None:
        """Have the rows that are not known computed, for as many as there is room."""
        for asker, one, found in waiting:
            until = asker.arrived, asker.arrived + asker.seconds
            prediction = Prediction(
                live, found, one.is_batch, until, (self, asker.reply)
            )
            try:
                self._fly(prediction, one)
            except Exception as error:
                self._refuse(asker, error)
                continue
            prediction.tier = self._tier
            self._current.pin(live)  # until all of its rows have landed
            asker.prediction = prediction

    def _fly(self, prediction: Prediction, asked: Asked) -> None:
        """Raises Overloaded."""
        caching, misses, (rows, keys, _) = self._caching, self._misses, asked
        if self._is_local and len(keys) == 1:  # PERF: as most are
            misses.fly_one(prediction, caching, rows[0], keys[0])
        elif caching.cache is None:
            prediction.bypass = caching.why_not
            misses.run(prediction, rows)
        else:
            misses.fly(prediction, caching, asked)

    def _refuse(self, asker: Asker, error: Exception) -> None:
        problem = error if isinstance(error, GomlxError) else _bug(self._name, error)
        self._tell(asker, self.refused(problem, perf_counter() - asker.arrived))

    def _tell(self, asker: Asker, reply: Reply) -> None:
        try:
            asker.reply(reply)
        except Exception as error:  # one asker's bug is not another's
            _bug(self._name, error)

    def refused(self, error: GomlxError, seconds: float) -> Reply:
        """Count a request that is not answered, and return what to say."""
        return _refused(self._metrics, self._name, error, seconds)

    def ended(self, prediction: Prediction) -> None:
        """Answer a request that waits no longer."""
        self._misses.end(prediction)
        if prediction.collapsed:
            self._collapsed.n += prediction.collapsed
        if prediction.error is None:
            prediction.done(prediction.reply(self._count(prediction.started)))
        else:
            seconds = perf_counter() - prediction.started
            prediction.done(self.refused(prediction.error, seconds))

    def all_landed(self, prediction: Prediction) -> None:
        """Let go of the version: no computation is for the request any more."""
        self._current.unpin(prediction.live)

    def _see(self, live: Live) -> None:
        """Make what is for one version alone."""
        self._version, self._caching = live.version, self._configured
        if live.servable.description.unsteady:
            self._caching = Caching(None, why_not="unsteady-model")
        is_keyed = self._caching.cache is not None
        self._is_local = is_keyed and self._caching.is_local
        self._questions = Questions(
            live.signature, live.dictionary, self._max_rows, is_keyed
        )

    def _known(self, asked: Sequence[Asked | Exception]) -> dict[bytes, bytes]:
        """Return the answers that are known here and now."""
        cache = self._caching.cache
        if cache is None:
            return {}
        keys = [key for one in asked if isinstance(one, Asked) for key in one.keys]
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
        caching: Mapping[str, Caching],
        max_rows: Mapping[str, int],
        metrics: Metrics,
    ) -> None:
        self._current, self._metrics = current, metrics
        self._misses = Misses(max_rows)
        shared = current, self._misses, metrics
        self._models = {
            name: Model(name, how, max_rows[name], shared)
            for name, how in caching.items()
        }
        self.stopping = asyncio.Event()  # what would go on for ever ends then

    def check(self, name: str) -> None:
        """Raise what every question would now. Raises ModelNotFound, NotReady."""
        self._current.now(name)

    def has_room(self, name: str) -> bool:
        """Tell whether a model takes another row that is not known."""
        live = self._current.get(name)
        return live is None or live.batcher.has_room()

    def ask(self, name: str, askers: Sequence[Asker]) -> None:
        """Answer requests for one model together."""
        if (model := self._models.get(name)) is not None:
            model.ask(askers)
        else:
            for asker in askers:
                asker.reply(self.refused(name, ModelNotFound(name, self._models)))

    def post(
        self, name: str, text: bytes | str, done: Done, seconds: float = inf
    ) -> Prediction | None:
        """Answer one JSON body, or a query string, within so many seconds.

        Returns what `leave` takes, or None when done was called already.
        """
        call = Call(text, done, perf_counter(), seconds)
        self.ask(name, [call])
        return call.prediction

    def leave(self, prediction: Prediction) -> None:
        """Its client has gone: compute nothing for it alone, and never call done."""
        if prediction.wanted_until:
            prediction.wanted_until = 0.0
            self._misses.end(prediction)
            self.gone(prediction.name, perf_counter() - prediction.started)

    def gone(self, name: str, seconds: float) -> None:
        """Count a request whose client had gone after so many seconds, unanswered."""
        self._metrics.count("gomlx_requests", name, _CLIENT_LEFT).n += 1
        self._metrics.spread("gomlx_refusal_seconds", name).add(seconds)
        self.left(name)

    def left(self, name: str) -> None:
        """Count a request whose client had gone before its answer."""
        self._metrics.count("gomlx_requests_canceled", name).n += 1

    def refused(self, name: str, error: GomlxError) -> Reply:
        """Count a request that is not answered, and return what to say."""
        label = name if name in self._models else "unknown"
        return _refused(self._metrics, label, error, 0.0)


def _refused(metrics: Metrics, label: str, error: GomlxError, seconds: float) -> Reply:
    metrics.count("gomlx_requests", label, str(error.status)).n += 1
    metrics.spread("gomlx_refusal_seconds", label).add(seconds)
    return refusal(error)


def _bug(name: str, error: Exception) -> GomlxError:
    log.error("model %s: a bug", name, exc_info=error)
    return InternalError()
