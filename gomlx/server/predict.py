"""The request path, from the bytes of a question to the bytes of its reply.

    post, get        question → canonical rows → keys → tiers; done, if all are known
     └ _wait         hold the version until the last answer
        └ Misses     the rows still missing, each landing by call-back (misses.py)

Nothing here waits: `done` is called with the reply, at once or later, always once;
unless the client leaves before.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from math import inf
from time import perf_counter
from typing import cast

from gomlx.errors import GomlxError
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


class _Model:
    """What the requests for one model share, and what is made for its live version."""

    def __init__(
        self, name: str, caching: Caching, max_rows: int, metrics: Metrics
    ) -> None:
        self._configured, self._max_rows = caching, max_rows
        self.caching = caching
        self.tier = caching.cache.name if caching.cache else ""
        self._version = ""
        self._questions: Questions | None = None
        self._ok = metrics.count("gomlx_requests", name, "200")
        self._seconds = metrics.spread("gomlx_request_seconds", name)
        self.collapsed = metrics.count("gomlx_flights_collapsed", name)

    def asked(self, live: Live, text: bytes | str, decode: Decode) -> Asked:
        """Return what a text asks of a version. Raises InvalidInput, TooLarge."""
        if live.version != self._version or self._questions is None:
            self._questions = self._see(live)
        return self._questions.asked(text, decode)

    def known(self, asked: Asked) -> Sequence[bytes | None]:
        """Return the answers that are known here and now."""
        if (cache := self.caching.cache) is None:
            return [None] * len(asked.rows)
        found = cache.get_many(asked.keys)
        return list(map(found.get, asked.keys))

    def count(self, started: float) -> float:
        """Count a request that is answered; return its seconds."""
        self._ok.n += 1
        seconds = perf_counter() - started
        self._seconds.add(seconds)
        return seconds

    def _see(self, live: Live) -> Questions:
        """Make what is for one version alone."""
        self._version, self.caching = live.version, self._configured
        if live.servable.description.unsteady:
            self.caching = Caching(None, why_not="unsteady-model")
        is_keyed = self.caching.cache is not None
        return Questions(live.signature, live.dictionary, self._max_rows, is_keyed)


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
            live = self._current.now(name)
            model = self._models[name]
            asked = model.asked(live, text, decode)
            known = model.known(asked)
            if None in known:
                waiting = Prediction(live, asked, known, started, started + seconds)
                self._wait(model, waiting, asked, done)
                return waiting
        except Exception as error:
            refused = error if isinstance(error, GomlxError) else _bug(name)
            done(self.refused(name, refused, perf_counter() - started))
            return None
        # PERF: nothing waits, so nothing is held, and no Prediction is made.
        answers, is_batch = cast(Sequence[bytes], known), asked.is_batch
        how = hit_status(len(answers), is_batch, model.tier)
        done(answered(live, answers, is_batch, how, model.count(started)))
        return None

    def _wait(
        self, model: _Model, prediction: Prediction, asked: Asked, done: Done
    ) -> None:
        """Have the rows that are not known computed. Raises Overloaded."""
        caching, name = model.caching, prediction.name
        prediction.owner, prediction.done = self, done
        if caching.cache is None:
            prediction.bypass = caching.why_not
            self._misses.run(prediction, asked.rows)
        else:
            prediction.tier = model.tier
            places = [i for i, a in enumerate(prediction.answers) if not a]
            missing = [(i, asked.rows[i], asked.keys[i]) for i in places]
            self._misses.fly(prediction, caching, missing)
        self._current.pin(name)  # until all of its rows have landed

    def ended(self, prediction: Prediction) -> None:
        """Answer a request that waits no longer."""
        name, done = prediction.name, prediction.done
        self._misses.end(prediction)
        model = self._models[name]
        model.collapsed.n += prediction.collapsed
        if prediction.error:
            seconds = perf_counter() - prediction.started
            done(self.refused(name, prediction.error, seconds))
        else:
            done(prediction.reply(model.count(prediction.started)))

    def all_landed(self, prediction: Prediction) -> None:
        """Let go of the version: no computation is for the request any more."""
        self._current.unpin(prediction.live)


def _bug(name: str) -> GomlxError:
    log.exception("model %s: a bug", name)
    return GomlxError("internal error; the log tells more")
