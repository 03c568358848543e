"""The request path, from the bytes of a question to the bytes of its reply.

    post, get        decode, and pin a version from first byte to last
     └ _predict      question → canonical rows → keys → tiers; done, if all are known
        └ Prediction the rows still missing, each landing by call-back:
           singleflight → further tiers, if any → batcher → servable → write-behind

Nothing here waits: `done` is called with the reply, at once or later, always once.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.singleflight import SingleFlight
from gomlx.cache.tier import Found
from gomlx.cache.tiered import Tiered
from gomlx.contract.signature import Question, Signature
from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError, InvalidInput, Overloaded
from gomlx.metrics import Metrics
from gomlx.models.batcher import Outcome
from gomlx.models.current import Current, Live
from gomlx.server.prediction import Prediction, Reply, refusal

log = logging.getLogger(__name__)


Done = Callable[[Reply], None]


class Caching(NamedTuple):
    """How one model's answers are kept: in cache; if None, why they are not.

    coalescer: with whom to agree on who computes a row; None: this process alone.
    """

    cache: Tiered | None
    coalescer: Coalescer | None = None
    why_not: str = "no-datastore"


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
        self._flights: SingleFlight[bytes, Outcome | Found] = SingleFlight()
        self._seconds = {
            name: metrics.spread("gomlx_request_seconds", name) for name in caching
        }
        self._collapsed = {
            name: metrics.count("gomlx_flights_collapsed", name) for name in caching
        }
        self._ok = {
            name: metrics.count("gomlx_requests", name, "200") for name in caching
        }

    def post(self, name: str, body: bytes, done: Done) -> None:
        """Answer a JSON body."""
        self._predict(name, partial(_decoded, body), done)

    def get(self, name: str, query: str, done: Done) -> None:
        """Answer a query string: one row."""
        self._predict(name, partial(_parsed, query), done)

    def _predict(
        self, name: str, decode: Callable[[Signature, int], Any], done: Done
    ) -> None:
        started = perf_counter()
        try:
            live = self._current.pin(name)
        except GomlxError as error:
            self._refuse(name, error, started, done)
            return
        try:
            max_rows = self._max_rows[name]
            asked = decode(live.signature, max_rows)
            question = live.signature.question(asked, max_rows)
            self._answer(live, question, started, done)
        except GomlxError as error:
            self._current.unpin(live)
            self._refuse(name, error, started, done)
        except Exception:
            log.exception("model %s: a bug", name)
            self._current.unpin(live)
            bug = GomlxError("internal error; the log tells more")
            self._refuse(name, bug, started, done)

    def _answer(
        self, live: Live, question: Question, started: float, done: Done
    ) -> None:
        """Look the rows up; have the missing ones computed. Raises Overloaded."""
        name = live.servable.version.name
        rows = live.dictionary.canonical(question.rows)
        prediction = Prediction(live, question.is_batch, len(rows), started)
        prediction.done = partial(self._finish, prediction, done)
        caching = self._caching[name]
        if live.servable.description.unsteady:
            caching = Caching(None, why_not="unsteady-model")
        if (cache := caching.cache) is None:
            live.batcher.check_room(len(rows))
            prediction.bypass = caching.why_not
            for i, row in enumerate(rows):
                live.batcher.add(row, partial(prediction.land, i))
            return
        prediction.tier = cache.name
        keys = live.dictionary.keys(rows)
        missing = prediction.fill(keys, cache.get_many(keys))
        if not missing:
            prediction.done()
            return
        live.batcher.check_room(len(missing))
        self._fly(prediction, caching, [(i, rows[i], keys[i]) for i in missing])

    def _fly(
        self,
        prediction: Prediction,
        caching: Caching,
        missing: Iterable[tuple[int, Row, bytes]],
    ) -> None:
        """Join each missing row's flight, and start those that nobody flies yet."""
        live, (cache, coalescer, _) = prediction.live, caching
        assert cache is not None
        new: dict[bytes, Row] = {}
        for i, row, key in missing:
            if self._flights.join(key, partial(prediction.land, i)):
                new[key] = row
            else:
                prediction.collapsed += 1
        if not new:
            return
        if coalescer or cache.asks_further(len(new)):
            until = asyncio.get_running_loop().time() + _seconds(coalescer)
            land = partial(self._fetched, live, caching, new)
            cache.fetch(live.shared, new, coalescer, until, land)
        else:
            for key, row in new.items():
                live.batcher.add(row, partial(self._landed, live, caching, key))

    def _fetched(
        self,
        live: Live,
        caching: Caching,
        rows: Mapping[bytes, Row],
        key: bytes,
        found: Found | None,
    ) -> None:
        """Take what was found elsewhere, or compute."""
        if found:
            self._flights.land(key, found)
            return
        try:
            live.batcher.check_room(1)
        except Overloaded as error:
            self._landed(live, caching, key, error)
        else:
            live.batcher.add(rows[key], partial(self._landed, live, caching, key))

    def _landed(
        self, live: Live, caching: Caching, key: bytes, outcome: Outcome
    ) -> None:
        if isinstance(outcome, bytes):
            caching.cache.set(live.shared, key, outcome)  # type: ignore[union-attr]
        elif caching.coalescer:
            caching.coalescer.release(key)
        self._flights.land(key, outcome)

    def _finish(self, prediction: Prediction, done: Done) -> None:
        live, name = prediction.live, prediction.live.servable.version.name
        self._collapsed[name].n += prediction.collapsed
        try:
            if prediction.error:
                self._refuse(name, prediction.error, prediction.started, done)
                return
            self._ok[name].n += 1
            seconds = perf_counter() - prediction.started
            self._seconds[name].add(seconds)
            done(prediction.reply(seconds))
        finally:
            self._current.unpin(live)

    def refused(self, name: str, error: GomlxError, seconds: float = 0.0) -> Reply:
        """Count a request that is not answered, and return what to say."""
        label = name if name in self._caching else "unknown"
        self._metrics.count("gomlx_requests", label, str(error.status)).n += 1
        self._metrics.spread("gomlx_refusal_seconds", label).add(seconds)
        return refusal(error)

    def left(self, name: str) -> None:
        """Count a request whose client had gone before its answer."""
        self._metrics.count("gomlx_requests_canceled", name).n += 1

    def _refuse(self, name: str, error: GomlxError, started: float, done: Done) -> None:
        done(self.refused(name, error, perf_counter() - started))


def _seconds(coalescer: Coalescer | None) -> float:
    return coalescer.seconds if coalescer else 0


def _decoded(body: bytes, signature: Signature, max_rows: int) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _find_non_numbers(body, signature, max_rows)
        raise InvalidInput(f"malformed JSON: {error}") from None


def _find_non_numbers(body: bytes, signature: Signature, max_rows: int) -> None:
    """Raise an error that names the input, if NaN or Infinity is what is wrong.

    Python's own parser admits them, and the signature then tells where they are.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return
    signature.question(asked, max_rows)


def _parsed(query: str, signature: Signature, _: int) -> Any:
    try:
        pairs = parse_qsl(query, True, True, errors="strict", max_num_fields=10_000)
    except ValueError as error:
        raise InvalidInput(f"malformed query: {error}") from None
    return signature.parse(pairs)
