"""The request path, from the bytes of a question to the bytes of its reply.

    post, get        decode, and pin a version from first byte to last
     └ _begin        question → canonical rows → keys → tiers; done, if all are known
        └ Misses     the rows still missing, each landing by call-back (misses.py)

Nothing here waits: `done` is called with the reply, at once or later, always once;
unless the client leaves before.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from time import perf_counter
from typing import Any

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError
from gomlx.metrics import Metrics
from gomlx.models.current import Current
from gomlx.server.misses import Caching, Misses
from gomlx.server.prediction import Done, Prediction, Reply, refusal
from gomlx.server.question import decoded, parsed

log = logging.getLogger(__name__)


_CLIENT_LEFT = "499"  # as nginx has it; no client sees it
Decode = Callable[[Signature, int], Any]


class Predictor:
    """The request path of one worker. For one thread: the event loop's."""

    def __init__(
        self,
        current: Current,
        caching: Mapping[str, Caching],
        max_rows: Mapping[str, int],
        metrics: Metrics,
    ) -> None:
        self._current, self._caching = current, caching
        self._max_rows, self._metrics = max_rows, metrics
        self.stopping = asyncio.Event()  # what would go on for ever ends then
        self._misses = Misses(max_rows)
        self._seconds = {
            name: metrics.spread("gomlx_request_seconds", name) for name in caching
        }
        self._collapsed = {
            name: metrics.count("gomlx_flights_collapsed", name) for name in caching
        }
        self._ok = {
            name: metrics.count("gomlx_requests", name, "200") for name in caching
        }

    def check(self, name: str) -> None:
        """Raise what every question would now. Raises ModelNotFound, NotReady."""
        self._current.unpin(self._current.pin(name))

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
        return self._predict(name, partial(decoded, body), done, seconds)

    def get(
        self, name: str, query: str, done: Done, seconds: float = inf
    ) -> Prediction | None:
        """Answer a query string: one row; else as `post`."""
        return self._predict(name, partial(parsed, query), done, seconds)

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

    def refused(self, name: str, error: GomlxError, seconds: float = 0.0) -> Reply:
        """Count a request that is not answered, and return what to say."""
        label = name if name in self._caching else "unknown"
        self._metrics.count("gomlx_requests", label, str(error.status)).n += 1
        self._metrics.spread("gomlx_refusal_seconds", label).add(seconds)
        return refusal(error)

    def _predict(
        self, name: str, decode: Decode, done: Done, seconds: float
    ) -> Prediction | None:
        started = perf_counter()
        try:
            live = self._current.pin(name)
        except GomlxError as error:
            done(self.refused(name, error, perf_counter() - started))
            return None
        try:
            max_rows = self._max_rows[name]
            asked = decode(live.signature, max_rows)
            question = live.signature.question(asked, max_rows)
            rows = live.dictionary.canonical(question.rows)
            prediction = Prediction(
                live, question.is_batch, len(rows), started, started + seconds
            )
            self._begin(prediction, rows, done)
        except Exception as error:
            self._current.unpin(live)
            known = error if isinstance(error, GomlxError) else _bug(name)
            done(self.refused(name, known, perf_counter() - started))
            return None
        if prediction.missing:
            return prediction
        try:
            self._answer(name, prediction, done)
        finally:
            self._current.unpin(live)
        return None

    def _begin(self, prediction: Prediction, rows: Sequence[Row], done: Done) -> None:
        """Look the rows up; have the missing ones computed. Raises Overloaded."""
        live = prediction.live
        caching = self._caching[live.servable.version.name]
        if live.servable.description.unsteady:
            caching = Caching(None, why_not="unsteady-model")
        if (cache := caching.cache) is None:
            prediction.bypass = caching.why_not
            prediction.owner, prediction.done = self, done
            self._misses.run(prediction, rows)
            return
        prediction.tier = cache.name
        keys = live.dictionary.keys(rows)
        if missing := prediction.fill(keys, cache.get_many(keys)):
            prediction.owner, prediction.done = self, done
            unknown = [(i, rows[i], keys[i]) for i in missing]
            self._misses.fly(prediction, caching, unknown)

    def ended(self, prediction: Prediction) -> None:
        """Answer a request that waits no longer."""
        name, done = prediction.name, prediction.done
        self._misses.end(prediction)
        self._collapsed[name].n += prediction.collapsed
        if prediction.error:
            seconds = perf_counter() - prediction.started
            done(self.refused(name, prediction.error, seconds))
        else:
            self._answer(name, prediction, done)

    def all_landed(self, prediction: Prediction) -> None:
        """Let go of the version: no computation is for the request any more."""
        self._current.unpin(prediction.live)

    def _answer(self, name: str, prediction: Prediction, done: Done) -> None:
        self._ok[name].n += 1
        seconds = perf_counter() - prediction.started
        self._seconds[name].add(seconds)
        done(prediction.reply(seconds))


def _bug(name: str) -> GomlxError:
    log.exception("model %s: a bug", name)
    return GomlxError("internal error; the log tells more")
