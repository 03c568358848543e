"""From the texts of requests for one live version to the answers that are cached."""

from collections.abc import Sequence
from typing import Protocol

from gomlx.contract.answer import joined
from gomlx.contract.echoes import completed
from gomlx.models.serving.current import RESPONSE, LiveVersion
from gomlx.server.body import BodyParts
from gomlx.server.parsing import COLLECTOR
from gomlx.server.predict.parse import (
    EchoParser,
    ParsedRequest,
    RequestParser,
    TogetherParser,
)
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.reply import Reply, hit_status
from gomlx.server.predict.request import ParsingRequest, Requester

_KEPT_ROWS = 8  # of a request whose text is remembered


class VersionLookup:
    """Parses requests for one live version, and answers them from this host's cache.

    digest names the version, and policy is the one in effect for it. Where is_local is
    true, a row that misses is computed at once. detail is what Cache-Status says: the
    nearest tier, or why there is none.

    It outlives the version by a request, so it holds none of the version's resources.
    """

    def __init__(
        self,
        live: LiveVersion,
        policy: CachePolicy,
        max_rows: int,
    ) -> None:
        """max_rows limits one request."""
        cache = policy.cache
        is_keyed = cache is not None
        self.digest = live.digest
        self.policy = policy
        self.is_local = is_keyed and policy.is_local
        self.detail = cache.name if cache else policy.bypass_reason
        parser = _parser_of(live)
        self.parser = parser(live.signature, live.dictionary, max_rows, is_keyed)
        self._recent = self.parser.recent
        self._hit_status = hit_status(1, False, self.detail)
        self._envelope = live.envelope
        self._seconds = -1.0  # of the last hit
        self._microseconds = 0

    def cached(self, parsed: Sequence[ParsedRequest | Exception]) -> dict[bytes, bytes]:
        """Return the answers that are in this host's cache, by key."""
        cache = self.policy.cache
        if cache is None:
            return {}
        keys = [
            key for one in parsed if isinstance(one, ParsedRequest) for key in one.keys
        ]
        return cache.get_many(keys) if keys else {}

    def hit(
        self,
        requester: Requester,
        parsed: ParsedRequest,
        seconds: float,
        answers: Sequence[bytes],
    ) -> Reply:
        """Return the reply where all rows are cached; seconds: what it took.

        Its text is likely to come again, and is then not parsed again. Texts that miss
        are not remembered: most come once, and would push out those that recur.
        """
        text: bytes | str = requester.text  # type: ignore[assignment] # it is parsed
        if text not in self._recent.newer and len(answers) <= _KEPT_ROWS:
            self._recent.remember(text, parsed)
        if seconds != self._seconds:  # PERF: most requests have come in one turn
            self._seconds = seconds
            self._microseconds = int(seconds * 1e6)
        if parsed.echoes:
            answers = completed(answers, parsed.echoes)
        status = self._hit_status
        data = answers[0]
        if parsed.is_batch:
            status = hit_status(len(answers), True, "")
            data = joined(answers)
        body = RESPONSE % (self._envelope, self._microseconds, data)
        return Reply(200, body, status, self.digest)


def parse_large(
    parsing: ParsingRequest, lookup: VersionLookup
) -> ParsedRequest | Exception | None:
    """Parse a request's text, in a thread; None if no caller waits for it by now."""
    if not parsing.is_awaited():
        return None
    text = parsing.requester.text
    with COLLECTOR.paused():
        if isinstance(text, BodyParts):
            return lookup.parser.parse_large(text.joined())
        hash(text)  # a text keeps it, and the look-up among recent texts needs it
        return lookup.parser.parse_large(text)


class Watches(Protocol):
    """Watches the steps of one request."""

    def parsed(self, started: float) -> None:
        """Note that a large text is parsed now, by a thread that it has waited for."""

    def looked_up(self, tier: str, started: float, rows: int, hits: int) -> None:
        """Note a look-up in this host's memory, which has just ended."""

    def version(self, live: LiveVersion) -> LiveVersion:
        """Return a version whose runs are noted."""

    def lookup(self, lookup: VersionLookup) -> VersionLookup:
        """Return a look-up whose shared tiers are watched."""


def _parser_of(live: LiveVersion) -> type[RequestParser]:
    if live.answers_together:
        return TogetherParser
    return EchoParser if live.signature.echoes else RequestParser
