"""The path of the requests for one model, from their texts to their replies.

predict           the requests of one turn of the event loop, together:
 ├ parse          texts → canonical rows → keys (parse.py)
 ├ cached         keys → the answers in this host's cache (lookup.py)
 ├ _answer        all rows are cached: reply at once; nothing is held
 └ _start         pin the version, have the other rows computed (misses.py)
    └ ended       reply, when the last answer has come or there is an error

predict_large     one request whose text is large, or takes as long: a thread parses it;
                  then as above
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from time import perf_counter
from typing import TypeVar

from gomlx.errors import DeadlineExceeded, GomlxError, InternalError
from gomlx.models.serving.current import LiveVersion, Slot
from gomlx.server.body import LARGE_BYTES, BodyParts
from gomlx.server.parsing import RestingThread
from gomlx.server.predict.counts import ModelCounts
from gomlx.server.predict.lookup import VersionLookup, Watches, parse_large
from gomlx.server.predict.misses import Misses
from gomlx.server.predict.parse import LENGTHY, ParsedRequest
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import ParsingRequest, PendingRequest, Requester

T = TypeVar("T")

log = logging.getLogger(__name__)


class ModelPredictor:
    """Answers the requests for one model. For one thread: the event loop's."""

    def __init__(
        self,
        name: str,
        policy: CachePolicy,
        max_rows: int,
        slot: Slot,
        misses: Misses,
        counts: ModelCounts,
    ) -> None:
        """max_rows limits one request. All models share misses."""
        self._name = name
        self._policy = policy
        self._max_rows = max_rows
        self._slot = slot
        self._misses = misses
        self._counts = counts
        self._lookup: VersionLookup | None = None  # of the version that was live last
        self._parser = RestingThread(name)

    def predict(self, requesters: Sequence[Requester]) -> None:
        """Answer requests together.

        PERF: what they have in common is done once, and each step for all of them
        before the next one (docs/internals/request.md).
        """
        try:
            live = self._slot.live
            if live is None:
                raise self._slot.not_ready()
            lookup = self._lookup
            if lookup is None or lookup.digest is not live.digest:
                lookup = self._change_version(live)
            parsed = lookup.parser.parse([one.text for one in requesters])  # type: ignore[misc]
            cached = lookup.cached(parsed)
        except Exception as error:
            for requester in requesters:
                self._refuse(requester, error)
            return
        pairs = zip(requesters, parsed, strict=True)
        self._answer(live, lookup, pairs, cached)

    def predict_watched(self, requester: Requester, watch: Watches) -> None:
        """Answer one request, and have its steps watched."""
        if len(requester.text) >= LARGE_BYTES:
            self.predict_large(requester, watch)
            return
        try:
            lookup = self._live_lookup()
            (one,) = lookup.parser.parse([requester.text])  # type: ignore[list-item]
        except Exception as error:
            self._refuse(requester, error)
            return
        if one is LENGTHY:
            self.predict_large(requester, watch)
        else:
            self._answer_one(lookup, requester, one, watch)

    def predict_large(self, requester: Requester, watch: Watches | None = None) -> None:
        """Answer a request whose text would block the event loop for milliseconds."""
        requester.pending = parsing = ParsingRequest(self._name, requester)
        try:
            lookup = self._live_lookup()
            done = self._parser.start(parse_large, parsing, lookup)
            done.add_done_callback(partial(self._parsed, parsing, lookup, watch))
        except Exception as error:
            requester.pending = None
            self._refuse(requester, error)

    def ended(self, pending: PendingRequest, error: GomlxError | None) -> None:
        """Reply to a request that had to wait."""
        self._misses.end(pending)
        counts = self._counts
        if pending.collapsed:
            counts.collapsed.n += pending.collapsed
        requester = pending.requester
        seconds = perf_counter() - requester.arrived
        if error is None:
            counts.ok.n += 1
            counts.seconds.add(seconds)
            requester.reply(pending.reply(seconds))
        else:
            requester.reply(counts.refusals.refusal(error, seconds))

    def recognizes(self, text: bytes | str | BodyParts) -> bool:
        """Whether the answers to a text were in this host's cache when it came last."""
        return self._lookup is not None and text in self._lookup.parser.recent

    @property
    def is_gone(self) -> bool:
        """Whether the config has the model no longer."""
        return self._slot.gone is not None

    def decide_again(self) -> None:
        """Decide again how the live version's answers are cached."""
        self._lookup = None

    def _parsed(
        self,
        parsing: ParsingRequest,
        lookup: VersionLookup,
        watch: Watches | None,
        done: "asyncio.Future[ParsedRequest | Exception | None]",
    ) -> None:
        """Go on with a request that a thread has parsed."""
        requester = parsing.requester
        if parsing.is_abandoned:
            self._release(requester)
            return
        requester.pending = None
        try:
            one = done.result()
            if one is None:
                raise DeadlineExceeded.of(self._name)
            if self._live_lookup() is not lookup:  # of a version that is gone
                self.predict_large(requester, watch)
                return
        except Exception as error:
            self._refuse(requester, error)
            return
        self._release(requester)
        if watch is not None:
            watch.parsed(requester.arrived)
        self._answer_one(lookup, requester, one, watch)

    def _answer_one(
        self,
        lookup: VersionLookup,
        requester: Requester,
        parsed: ParsedRequest | Exception,
        watch: Watches | None,
    ) -> None:
        """Answer a request of the live version, whose look-up is given."""
        live = self._slot.live
        assert live is not None  # it has a look-up
        started = perf_counter()
        try:
            cached = lookup.cached([parsed])
        except Exception as error:
            self._refuse(requester, error)
            return
        if watch is not None:
            if isinstance(parsed, ParsedRequest) and parsed.keys:
                watch.looked_up(lookup.detail, started, len(parsed.keys), len(cached))
            live = watch.version(live)
            lookup = watch.lookup(lookup)
        self._answer(live, lookup, [(requester, parsed)], cached)

    def _live_lookup(self) -> VersionLookup:
        """Return the look-up of the live version. Raises NotReady."""
        live = self._slot.live
        if live is None:
            raise self._slot.not_ready()
        lookup = self._lookup
        if lookup is None or lookup.digest is not live.digest:
            return self._change_version(live)
        return lookup

    def _change_version(self, live: LiveVersion) -> VersionLookup:
        policy = self._policy.in_effect(bool(live.servable.description.unsteady))
        policy = policy.worthwhile(self._name, live.batcher.cost.key_seconds)
        self._lookup = self._version_lookup(live, policy)
        return self._lookup

    def _version_lookup(self, live: LiveVersion, policy: CachePolicy) -> VersionLookup:
        return VersionLookup(live, policy, self._max_rows)

    def _release(self, requester: Requester) -> None:
        """Drop a large text that is parsed: a request may outlive its reply."""
        if isinstance(requester.text, BodyParts):
            requester.text.release()

    def _answer(
        self,
        live: LiveVersion,
        lookup: VersionLookup,
        pairs: Iterable[tuple[Requester, ParsedRequest | Exception]],
        cached: Mapping[bytes, bytes],
    ) -> None:
        """Reply where all rows are cached, or with an error; start the others."""
        counts = self._counts
        now = perf_counter()
        arrived = seconds = 0.0
        for requester, one in pairs:
            if isinstance(one, Exception):
                if one is LENGTHY:
                    self.predict_large(requester)
                else:
                    self._refuse(requester, one)
                continue
            keys = one.keys
            answers: list[bytes | None]
            if len(keys) == 1:  # PERF: as in most requests
                answers = [cached.get(keys[0])]
            else:
                answers = [cached.get(key) for key in keys] or [None] * len(one.rows)
            if None in answers:
                self._start(live, lookup, requester, one, answers)
                continue
            if requester.arrived != arrived:  # PERF: most have come in one turn
                arrived = requester.arrived
                seconds = now - arrived
            counts.ok.n += 1
            counts.seconds.add(seconds)
            # PERF: none of them is None, but cast() is a call.
            reply = lookup.hit(requester, one, seconds, answers)  # type: ignore[arg-type]
            self._reply(requester, reply)

    def _start(
        self,
        live: LiveVersion,
        lookup: VersionLookup,
        requester: Requester,
        parsed: ParsedRequest,
        answers: list[bytes | None],
    ) -> None:
        """Have the missing rows computed, or fetched, if there is room for them."""
        policy = lookup.policy
        is_plain = lookup.is_local and len(answers) == 1  # PERF: as in most
        if is_plain:
            seconds = requester.timeout_seconds
            shortage = self._misses.shortage(live, parsed.keys[0], seconds)
            if shortage is not None:
                self._refuse(requester, shortage)
                return
        pending = PendingRequest(self, live, requester, parsed, answers, lookup.detail)
        live.pin()  # until it is completed
        requester.pending = pending
        try:
            if is_plain:
                self._misses.join_flight(pending, policy)
            elif policy.cache is None:
                self._misses.run_uncached(pending)
            else:
                self._misses.join_flights(pending, policy)
        except Exception as error:
            live.unpin()
            requester.pending = None
            self._refuse(requester, error)

    def _refuse(self, requester: Requester, error: Exception) -> None:
        if not isinstance(error, GomlxError):
            _log_bug(self._name, requester, error)
            error = InternalError()
        seconds = perf_counter() - requester.arrived
        self._reply(requester, self._counts.refusals.refusal(error, seconds))

    def _reply(self, requester: Requester, reply: Reply) -> None:
        try:
            requester.reply(reply)
        except Exception as error:  # a requester's bug must not affect the others
            _log_bug(self._name, requester, error)


def _log_bug(name: str, requester: Requester, error: Exception) -> None:
    """Log an exception that is not a GomlxError, with its traceback."""
    where = f", request {requester.request_id}" if requester.request_id else ""
    log.error("model %s%s: a bug", name, where, exc_info=error)
