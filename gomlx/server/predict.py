"""The request path, from the bytes of a question to the bytes of its reply.

    ask             question → canonical rows → keys → tiers; done, if all are known
     └ _wait        hold the version until the last answer
        └ Misses    the rows still missing, each landing by call-back (misses.py)
           └ ended  the reply, or what went wrong

Nothing here waits: `done` is called with the reply, at once or later, always once;
unless the client leaves before.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from math import inf
from time import perf_counter
from typing import cast

from gomlx.errors import GomlxError, ModelNotFound
from gomlx.metrics import Metrics
from gomlx.models.current import Current, Live
from gomlx.server.misses import Caching, Misses
from gomlx.server.prediction import (
    Done,
    Prediction,
    Reply,
    answered,
    hit_status,
    refusal,
)
from gomlx.server.question import Asked, Decode, Questions, decoded, parsed

log = logging.getLogger(__name__)


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
        self._hit = hit_status(1, False, self._tier)
        self._version, self._is_local = "", False
        self._questions: Questions  # of that version
        self._ok = self._metrics.count("gomlx_requests", name, "200")
        self._seconds = self._metrics.spread("gomlx_request_seconds", name)
        self._collapsed = self._metrics.count("gomlx_flights_collapsed", name)

    def ask(
        self, text: bytes | str, decode: Decode, done: Done, seconds: float
    ) -> Prediction | None:
        """Answer what a text asks, within so many seconds.

        Returns what `leave` takes, or None when done was called already.
        """
        started = perf_counter()
        try:
            live = self._current.now(self._name)
            if live.version is not self._version:
                self._see(live)
            # PERF: what is known of a text that recurs is a look-up away.
            recent = self._questions.recent.get(text)
            asked = recent or self._questions.asked(text, decode)
            known = self._known(asked)
            if None in known:
                until, then = (started, started + seconds), (self, done)
                waiting = Prediction(live, known, asked.is_batch, until, then)
                self._wait(waiting, asked)
                return waiting
        except Exception as error:
            problem = error if isinstance(error, GomlxError) else _bug(self._name)
            done(self.refused(problem, perf_counter() - started))
            return None
        if recent is None:
            self._questions.remember(text, asked)
        # PERF: nothing waits, so nothing is held, and no Prediction is made.
        is_batch, answers = asked.is_batch, cast(Sequence[bytes], known)
        how = hit_status(len(answers), True, "") if is_batch else self._hit
        done(answered(live, answers, is_batch, how, self._count(started)))
        return None

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

    def _known(self, asked: Asked) -> Sequence[bytes | None]:
        """Return the answers that are known here and now."""
        cache, keys = self._caching.cache, asked.keys
        if cache is None:
            return [None] * len(asked.rows)
        if len(keys) == 1:
            return (cache.get(keys[0]),)
        return list(map(cache.get_many(keys).get, keys))

    def _wait(self, prediction: Prediction, asked: Asked) -> None:
        """Have the rows that are not known computed. Raises Overloaded."""
        caching = self._caching
        if self._is_local and len(asked.keys) == 1:  # PERF: as most are
            (row,), (key,), _ = asked
            self._misses.fly_one(prediction, caching, row, key)
        elif caching.cache is None:
            prediction.bypass = caching.why_not
            self._misses.run(prediction, asked.rows)
        else:
            self._misses.fly(prediction, caching, asked)
        prediction.tier = self._tier
        self._current.pin(prediction.live)  # until all of its rows have landed

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

    def post(
        self, name: str, body: bytes, done: Done, seconds: float = inf
    ) -> Prediction | None:
        """Answer a JSON body within so many seconds.

        Returns what `leave` takes, or None when done was called already.
        """
        if (model := self._models.get(name)) is None:
            return self._unknown(name, done)
        return model.ask(body, decoded, done, seconds)

    def get(
        self, name: str, query: str, done: Done, seconds: float = inf
    ) -> Prediction | None:
        """Answer a query string: one row; else as `post`."""
        if (model := self._models.get(name)) is None:
            return self._unknown(name, done)
        return model.ask(query, parsed, done, seconds)

    def leave(self, prediction: Prediction) -> None:
        """Its client has gone: compute nothing for it alone, and never call done."""
        if prediction.wanted_until:
            prediction.wanted_until = 0.0
            self._misses.end(prediction)
            name, seconds = prediction.name, perf_counter() - prediction.started
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

    def _unknown(self, name: str, done: Done) -> Prediction | None:
        done(self.refused(name, ModelNotFound(name, self._models)))
        return None


def _refused(metrics: Metrics, label: str, error: GomlxError, seconds: float) -> Reply:
    metrics.count("gomlx_requests", label, str(error.status)).n += 1
    metrics.spread("gomlx_refusal_seconds", label).add(seconds)
    return refusal(error)


def _bug(name: str) -> GomlxError:
    log.exception("model %s: a bug", name)
    return GomlxError("internal error; the log tells more")
