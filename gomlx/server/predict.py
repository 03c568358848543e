"""The request path, from the bytes of a question to the bytes of its reply.

    post, get        decode, and pin a version from first byte to last
     └ _begin        question → canonical rows → keys → tiers; done, if all are known
        └ Misses     the rows still missing, each landing by call-back (misses.py)

Nothing here waits: `done` is called with the reply, at once or later, always once;
unless the client leaves before.
"""

import asyncio
import logging
from collections.abc import Mapping
from math import inf
from time import perf_counter

from gomlx.errors import GomlxError
from gomlx.metrics import Metrics
from gomlx.models.current import Current, Live
from gomlx.server.misses import Caching, Misses
from gomlx.server.prediction import Done, Prediction, Reply, refusal
from gomlx.server.question import Asked, Decode, Questions, decoded, parsed

log = logging.getLogger(__name__)


_CLIENT_LEFT = "499"  # as nginx has it; no client sees it


class _Model:
    """What the requests for one model share; questions: for its live version."""

    def __init__(
        self, name: str, caching: Caching, max_rows: int, metrics: Metrics
    ) -> None:
        self.caching, self.max_rows = caching, max_rows
        self.version = ""
        self.questions: Questions | None = None
        self.ok = metrics.count("gomlx_requests", name, "200")
        self.seconds = metrics.spread("gomlx_request_seconds", name)
        self.collapsed = metrics.count("gomlx_flights_collapsed", name)

    def question(self, live: Live, text: bytes | str, decode: Decode) -> Asked:
        """Return what a text asks of a version."""
        if live.version != self.version or self.questions is None:
            self.version = live.version
            is_keyed = self.caching.cache is not None
            self.questions = Questions(
                live.signature, live.dictionary, self.max_rows, is_keyed
            )
        return self.questions.asked(text, decode)


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
        self._models = {
            name: _Model(name, how, max_rows[name], metrics)
            for name, how in caching.items()
        }
        self.stopping = asyncio.Event()  # what would go on for ever ends then
        self._misses = Misses(max_rows)

    def check(self, name: str) -> None:
        """Raise what every question would now. Raises ModelNotFound, NotReady."""
        self._current.unpin(self._current.pin(name))

    def post(
        self, name: str, body: bytes, done: Done, seconds: float = inf
    ) -> Prediction | None:
        """Answer a JSON body within so many seconds.

        Returns what `leave` takes, or None when done was called already.
        """
        return self._predict(name, body, decoded, done, seconds)

    def get(
        self, name: str, query: str, done: Done, seconds: float = inf
    ) -> Prediction | None:
        """Answer a query string: one row; else as `post`."""
        return self._predict(name, query, parsed, done, seconds)

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
        label = name if name in self._models else "unknown"
        self._metrics.count("gomlx_requests", label, str(error.status)).n += 1
        self._metrics.spread("gomlx_refusal_seconds", label).add(seconds)
        return refusal(error)

    def _predict(
        self,
        name: str,
        text: bytes | str,
        decode: Decode,
        done: Done,
        seconds: float,
    ) -> Prediction | None:
        started = perf_counter()
        try:
            live = self._current.pin(name)
        except GomlxError as error:
            done(self.refused(name, error, perf_counter() - started))
            return None
        model = self._models[name]
        try:
            asked = model.question(live, text, decode)
            prediction = Prediction(
                live, asked.is_batch, len(asked.rows), started, started + seconds
            )
            self._begin(prediction, model.caching, asked, done)
        except Exception as error:
            self._current.unpin(live)
            known = error if isinstance(error, GomlxError) else _bug(name)
            done(self.refused(name, known, perf_counter() - started))
            return None
        if prediction.missing:
            return prediction
        try:
            self._answer(model, prediction, done)
        finally:
            self._current.unpin(live)
        return None

    def _begin(
        self, prediction: Prediction, caching: Caching, asked: Asked, done: Done
    ) -> None:
        """Look the rows up; have the missing ones computed. Raises Overloaded."""
        live, rows, keys = prediction.live, asked.rows, asked.keys
        if live.servable.description.unsteady:
            caching = Caching(None, why_not="unsteady-model")
        if (cache := caching.cache) is None:
            prediction.bypass = caching.why_not
            prediction.owner, prediction.done = self, done
            self._misses.run(prediction, rows)
            return
        prediction.tier = cache.name
        if missing := prediction.fill(keys, cache.get_many(keys)):
            prediction.owner, prediction.done = self, done
            unknown = [(i, rows[i], keys[i]) for i in missing]
            self._misses.fly(prediction, caching, unknown)

    def ended(self, prediction: Prediction) -> None:
        """Answer a request that waits no longer."""
        name, done = prediction.name, prediction.done
        model = self._models[name]
        self._misses.end(prediction)
        model.collapsed.n += prediction.collapsed
        if prediction.error:
            seconds = perf_counter() - prediction.started
            done(self.refused(name, prediction.error, seconds))
        else:
            self._answer(model, prediction, done)

    def all_landed(self, prediction: Prediction) -> None:
        """Let go of the version: no computation is for the request any more."""
        self._current.unpin(prediction.live)

    def _answer(self, model: _Model, prediction: Prediction, done: Done) -> None:
        model.ok.n += 1
        seconds = perf_counter() - prediction.started
        model.seconds.add(seconds)
        done(prediction.reply(seconds))


def _bug(name: str) -> GomlxError:
    log.exception("model %s: a bug", name)
    return GomlxError("internal error; the log tells more")
