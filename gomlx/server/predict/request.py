"""One request on its path: who sent it, and what it waits for.

A request whose text is large is a `ParsingRequest` first, while a thread parses it. One
whose rows are not all cached becomes a `PendingRequest`:

    waiting ── the last outcome ─────────────────────────────► ended, completed
        └───── an error, the deadline, a disconnect ──► ended ── the last outcome ──┘

It gets its reply when it ends, unless its client has disconnected. It pins the live
version until it is completed: a started run continues, and its answer is cached.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

from gomlx.cache.tier import Hit
from gomlx.contract.answer import joined
from gomlx.contract.echoes import completed
from gomlx.errors import GomlxError, RunFailed
from gomlx.models.batching.run import RowResult
from gomlx.models.serving.current import RESPONSE, LiveVersion
from gomlx.server.body import BodyParts
from gomlx.server.predict.parse import ParsedRequest
from gomlx.server.predict.reply import (
    COLLAPSED,
    STORED,
    Reply,
    bypass_status,
    hit_status,
    miss_status,
)

OnReply = Callable[[Reply], None]


class Requester(Protocol):
    """One request that has arrived, and who gets its reply.

    text: a JSON body (bytes, or BodyParts if it is large) or a query string (str).
    arrived: a time of `perf_counter`. pending: set by the predictor while the request
    waits; what `Predictor.abandon` needs.
    """

    text: bytes | str | BodyParts
    arrived: float
    pending: "WaitingRequest | None"

    @property
    def timeout_seconds(self) -> float:
        """How long the request waits for its answers, from its arrival."""

    @property
    def request_id(self) -> str:
        """What it is called in logs and traces; "": nothing."""

    def reply(self, reply: Reply, /) -> None:
        """Send the reply. Called once, at once or later; never once abandoned."""


@dataclass(slots=True)
class CallbackRequester:
    """A requester whose reply goes to a function."""

    text: bytes | str | BodyParts
    reply: OnReply
    arrived: float
    timeout_seconds: float
    request_id: str = ""
    pending: "WaitingRequest | None" = None


class Owner(Protocol):
    """Who answers a request that had to wait."""

    def ended(self, pending: "PendingRequest", error: GomlxError | None, /) -> None:
        """Reply with the answers of all rows, or with the error. Called once."""


class ParsingRequest:
    """A request whose text a thread parses. For the event loop, but `is_awaited`.

    name: the model's. deadline: by `perf_counter`. is_abandoned: no client waits for it
    any more.
    """

    __slots__ = ("deadline", "is_abandoned", "name", "requester")

    answers = (None,)  # how many rows it has is not known yet

    def __init__(self, name: str, requester: Requester) -> None:
        self.name = name
        self.requester = requester
        self.deadline = requester.arrived + requester.timeout_seconds
        self.is_abandoned = False

    def is_awaited(self) -> bool:
        """Whether it is worth parsing. Any thread may ask."""
        return not self.is_abandoned and perf_counter() < self.deadline


class PendingRequest:
    """A request with rows that are being computed, or fetched from shared tiers.

    answers: one a row; None where it is missing. missing: how many rows have no outcome
    yet. hits: how many answers were cached. collapsed: how many rows joined the flights
    of other requests. deadline: by `perf_counter`; 0.0 once the request has ended.
    detail: of its Cache-Status: the tier of the last hit, or why there is no cache.
    """

    __slots__ = (
        "answers",
        "collapsed",
        "deadline",
        "detail",
        "hits",
        "live",
        "missing",
        "owner",
        "parsed",
        "requester",
    )

    def __init__(
        self,
        owner: Owner,
        live: LiveVersion,
        requester: Requester,
        parsed: ParsedRequest,
        answers: list[bytes | None],
        detail: str,
    ) -> None:
        """answers: those that the cache had. The list is changed."""
        self.owner = owner
        self.live = live
        self.requester = requester
        self.parsed = parsed
        self.answers = answers
        self.detail = detail
        self.deadline = requester.arrived + requester.timeout_seconds
        self.missing = missing = answers.count(None)
        self.hits = len(answers) - missing
        self.collapsed = 0

    @property
    def name(self) -> str:
        """The model's."""
        return self.live.servable.version.name

    @property
    def timeout_seconds(self) -> float:
        """From its arrival to its deadline."""
        return self.deadline - self.requester.arrived

    def places(self) -> Iterable[int]:
        """The rows whose answers are missing."""
        if not self.hits:
            return range(len(self.answers))
        return [i for i, answer in enumerate(self.answers) if answer is None]

    def complete(self, place: int, outcome: RowResult | Hit, /) -> None:
        """Receive the outcome of one row. Called once for each that was missing.

        The last outcome ends the request, and so does the first error. Runs, and the
        halves of those that failed, complete in the order of their rows: the first
        error is that of the lowest row that is known to have failed.
        """
        self.missing -= 1
        if isinstance(outcome, bytes):
            self.answers[place] = outcome
        elif isinstance(outcome, Hit):
            self.answers[place] = outcome.answer
            self.detail = outcome.tier
            self.hits += 1
        elif self.deadline:
            if isinstance(outcome, RunFailed) and self.parsed.is_batch:
                outcome = outcome.of_row(place)
            self.end(outcome)
        if not self.missing:
            try:
                if self.deadline:
                    self.end()
            finally:
                self.live.unpin()

    def end(self, error: GomlxError | None = None) -> None:
        """Have it answered. Its rows that have not begun to run are dropped."""
        self.deadline = 0.0
        self.owner.ended(self, error)

    def abandon(self) -> bool:
        """End it without a reply; False if it has ended before."""
        was_waiting = self.deadline > 0
        self.deadline = 0.0
        return was_waiting

    def reply(self, seconds: float) -> Reply:
        """Join the answers into the reply; seconds: what the request took."""
        parsed = self.parsed
        if parsed.is_batch or self.hits or not parsed.keys:
            status = self.cache_status()
        else:  # PERF: as for most
            status = COLLAPSED if self.collapsed else STORED
        answers: list[bytes] = self.answers  # type: ignore[assignment] # none is None
        if parsed.echoes:
            answers = completed(answers, parsed.echoes)
        data = joined(answers) if parsed.is_batch else answers[0]
        live = self.live
        body = RESPONSE % (live.envelope, int(seconds * 1e6), data)
        return Reply(200, body, status, live.digest)

    def cache_status(self) -> str:
        """Say where the answers of an ended request are from."""
        rows = len(self.answers)
        is_batch = self.parsed.is_batch
        if not self.parsed.keys:
            return bypass_status(self.detail)
        if self.hits == rows:
            return hit_status(rows, is_batch, self.detail)
        return miss_status(rows, is_batch, self.hits, self.collapsed)


WaitingRequest = PendingRequest | ParsingRequest
