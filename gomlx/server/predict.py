"""The request path, from the bytes of a question to the bytes of its reply.

    post, get        decode, and pin a version from first byte to last
     └ _predict      question → canonical rows → keys → tiers; done, if all are known
        └ Prediction the rows still missing, each landing by call-back:
           singleflight → batcher → servable → write-behind

Nothing here waits: `done` is called with the reply, at once or later, always once.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import perf_counter
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from gomlx.cache.singleflight import SingleFlight
from gomlx.cache.tiered import Tiered
from gomlx.contract.answer import joined
from gomlx.contract.signature import Question, Signature
from gomlx.contract.tensor import Row
from gomlx.errors import GomlxError, InvalidInput
from gomlx.metrics import Metrics
from gomlx.models.batcher import Outcome
from gomlx.models.current import Current, Live

log = logging.getLogger(__name__)


class Reply(NamedTuple):
    """What a protocol must send."""

    status: int
    body: bytes
    cache_status: str = ""
    version: str = ""
    retry_after: int | None = None


Done = Callable[[Reply], None]


def refusal(error: GomlxError) -> Reply:
    """Return the reply that says what went wrong."""
    body = orjson.dumps({"status": "error", "error": str(error)})
    return Reply(error.status, body, retry_after=error.retry_after)


class Caching(NamedTuple):
    """How one model's answers are kept: in cache; if None, why they are not."""

    cache: Tiered | None
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
        self._flights: SingleFlight[bytes, Outcome] = SingleFlight()
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
            self._refuse(name, error, done)
            return
        try:
            max_rows = self._max_rows[name]
            asked = decode(live.signature, max_rows)
            question = live.signature.question(asked, max_rows)
            self._answer(live, question, started, done)
        except GomlxError as error:
            self._current.unpin(live)
            self._refuse(name, error, done)
        except Exception:
            log.exception("model %s: a bug", name)
            self._current.unpin(live)
            self._refuse(name, GomlxError("internal error; the log tells more"), done)

    def _answer(
        self, live: Live, question: Question, started: float, done: Done
    ) -> None:
        """Look the rows up; have the missing ones computed. Raises Overloaded."""
        name = live.servable.version.name
        rows = live.dictionary.canonical(question.rows)
        prediction = Prediction(live, question.is_batch, len(rows), started)
        prediction.done = partial(self._finish, prediction, done)
        cache, why_not = self._caching[name]
        if live.servable.description.unsteady:
            cache, why_not = None, "unsteady-model"
        if cache is None:
            live.batcher.check_room(len(rows))
            prediction.bypass = why_not
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
        self._fly(prediction, cache, [(i, rows[i], keys[i]) for i in missing])

    def _fly(
        self,
        prediction: "Prediction",
        cache: Tiered,
        missing: Iterable[tuple[int, Row, bytes]],
    ) -> None:
        """Join each missing row's flight, and start those that nobody flies yet."""
        batcher = prediction.live.batcher
        for i, row, key in missing:
            if self._flights.join(key, partial(prediction.land, i)):
                batcher.add(row, partial(self._landed, cache, key))
            else:
                prediction.collapsed += 1

    def _landed(self, cache: Tiered, key: bytes, outcome: Outcome) -> None:
        if isinstance(outcome, bytes):
            cache.set(key, outcome)
        self._flights.land(key, outcome)

    def _finish(self, prediction: "Prediction", done: Done) -> None:
        live, name = prediction.live, prediction.live.servable.version.name
        self._collapsed[name].n += prediction.collapsed
        try:
            if prediction.error:
                self._refuse(name, prediction.error, done)
                return
            self._ok[name].n += 1
            seconds = perf_counter() - prediction.started
            self._seconds[name].add(seconds)
            done(prediction.reply(seconds))
        finally:
            self._current.unpin(live)

    def refused(self, name: str, error: GomlxError) -> Reply:
        """Count a request that is not answered, and return what to say."""
        label = name if name in self._caching else "unknown"
        self._metrics.count("gomlx_requests", label, str(error.status)).n += 1
        return refusal(error)

    def _refuse(self, name: str, error: GomlxError, done: Done) -> None:
        done(self.refused(name, error))


class Prediction:
    """One request under way: the answers it has, and how many it still lacks."""

    __slots__ = (
        *("answers", "bypass", "collapsed", "done", "error", "hits", "is_batch"),
        *("live", "missing", "started", "tier"),
    )
    done: Callable[[], None]

    def __init__(self, live: Live, is_batch: bool, rows: int, started: float) -> None:
        self.live, self.is_batch, self.started = live, is_batch, started
        self.answers: list[bytes] = [b""] * rows
        self.missing = rows
        self.hits = self.collapsed = 0
        self.bypass = self.tier = ""
        self.error: GomlxError | None = None

    def fill(self, keys: list[bytes], found: Mapping[bytes, bytes]) -> list[int]:
        """Take what the cache knows; return which rows it does not."""
        missing = []
        for i, key in enumerate(keys):
            answer = found.get(key)
            if answer is None:
                missing.append(i)
            else:
                self.answers[i] = answer
        self.missing = len(missing)
        self.hits = len(keys) - len(missing)
        return missing

    def land(self, i: int, outcome: Outcome) -> None:
        """Take the outcome of one row; after the last one, all is done."""
        if isinstance(outcome, bytes):
            self.answers[i] = outcome
        else:
            self.error = outcome
        self.missing -= 1
        if not self.missing:
            self.done()

    def reply(self, seconds: float) -> Reply:
        """Join the answers into the response."""
        body = b'%b%d,"data":%b}' % (
            self.live.prefix,
            int(seconds * 1e6),
            joined(self.answers, self.is_batch),
        )
        version = self.live.servable.version.digest
        return Reply(200, body, self._cache_status(), version)

    def _cache_status(self) -> str:
        """Say where the answer is from, as RFC 9211 has it."""
        rows = len(self.answers)
        detail = f'; detail="rows={rows},hits={self.hits}"' if self.is_batch else ""
        if self.bypass:
            return f"gomlx; fwd=bypass; detail={self.bypass}"
        if self.hits == rows:
            return f"gomlx; hit{detail or f'; detail={self.tier}'}"
        kind = "partial" if self.hits else "miss"
        how = "collapsed" if self.collapsed == rows - self.hits else "stored"
        return f"gomlx; fwd={kind}; {how}{detail}"


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
