"""One request under way, and the reply that comes of it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

import orjson

from gomlx.cache.tier import Hit
from gomlx.contract.answer import joined
from gomlx.errors import GomlxError
from gomlx.models.serving.current import LiveVersion
from gomlx.models.serving.run import RowResult

_STORED = "gomlx; fwd=miss; stored"
_COLLAPSED = "gomlx; fwd=miss; collapsed"


@dataclass(slots=True)
class Reply:
    """What a protocol must send."""

    status: int
    body: bytes
    cache_status: str = ""
    version: str = ""
    retry_after: int | None = None


def refusal(error: GomlxError) -> Reply:
    """Return the reply that says what went wrong."""
    body = orjson.dumps({"status": "error", "error": str(error)})
    return Reply(error.status, body, retry_after=error.retry_after)


class Requester(Protocol):
    """Who asks: one request that has arrived.

    text: a JSON body (bytes) or a query string (str). arrived: when, by perf_counter.
    seconds: how long it waits from then on. prediction: of its answer, while that has
    to wait; `Predictor.leave` takes it.
    """

    text: bytes | str
    arrived: float
    pending: "PendingRequest | None"

    @property
    def seconds(self) -> float: ...

    def reply(self, reply: Reply, /) -> None:
        """Take the reply: at once or later, once, unless it has left before."""


Done = Callable[[Reply], None]


@dataclass(slots=True)
class Call:
    """A request whose reply a function takes."""

    text: bytes | str
    reply: Done
    arrived: float
    seconds: float
    pending: "PendingRequest | None" = None


class Owner(Protocol):
    """Who answers a request that had to wait."""

    def ended(self, pending: "PendingRequest", /) -> None:
        """It waits no longer: with all of its answers, or an error. Called once."""

    def all_completed(self, pending: "PendingRequest", /) -> None:
        """No computation is for it any more. Called once, maybe long after."""


class PendingRequest:
    """One request under way: the answers it has, and how many it still lacks.

    done takes its reply; owner is told what becomes of it, and makes that.
    """

    __slots__ = (
        *("answers", "bypass", "collapsed", "done", "error", "hits", "is_batch"),
        *("live", "missing", "owner", "started", "tier", "deadline"),
    )

    def __init__(
        self,
        live: LiveVersion,
        known: list[bytes | None],
        is_batch: bool,
        until: tuple[float, float],
        then: tuple[Owner, Done],
    ) -> None:
        """until: when it came, and until when it is wanted."""
        self.live, self.is_batch = live, is_batch
        self.started, self.deadline = until  # 0 when it has ended
        self.owner, self.done = then
        self.answers = known  # this list is ours now
        self.missing = missing = known.count(None)
        self.hits = len(known) - missing
        self.collapsed = 0
        self.bypass = self.tier = ""
        self.error: GomlxError | None = None

    @property
    def name(self) -> str:
        """The model's."""
        return self.live.servable.version.name

    @property
    def seconds(self) -> float:
        """How long it waits for its answers."""
        return self.deadline - self.started

    def places(self) -> Iterable[int]:
        """Where answers are missing."""
        if not self.hits:
            return range(len(self.answers))
        return [i for i, answer in enumerate(self.answers) if answer is None]

    def complete(self, i: int, outcome: RowResult | Hit) -> None:
        """Take the outcome of one row; the last one, or a failure, ends it."""
        self.missing -= 1
        if isinstance(outcome, bytes):
            self.answers[i] = outcome
        elif isinstance(outcome, Hit):
            self.answers[i], self.tier = outcome
            self.hits += 1
        elif self.deadline:
            self.end(outcome)
        if not self.missing:
            try:
                if self.deadline:
                    self.end()
            finally:
                self.owner.all_completed(self)

    def end(self, error: GomlxError | None = None) -> None:
        """It waits no longer. Rows of it that have not begun to run never will."""
        self.deadline = 0.0
        self.error = error
        self.owner.ended(self)

    def reply(self, seconds: float) -> Reply:
        """Join the answers into the response."""
        answers = cast(list[bytes], self.answers)
        if self.is_batch or self.hits or self.bypass:
            how = self._cache_status()
        else:  # PERF: as most are
            how = _COLLAPSED if self.collapsed else _STORED
        live = self.live
        return answered(
            live, live.response_prefix(seconds), answers, self.is_batch, how
        )

    def _cache_status(self) -> str:
        """Say where the answer is from, as RFC 9211 has it."""
        rows = len(self.answers)
        if self.bypass:
            return f"gomlx; fwd=bypass; detail={self.bypass}"
        if self.hits == rows:
            return hit_status(rows, self.is_batch, self.tier)
        kind = "partial" if self.hits else "miss"
        how = "collapsed" if self.collapsed == rows - self.hits else "stored"
        detail = f'; detail="rows={rows},hits={self.hits}"' if self.is_batch else ""
        return f"gomlx; fwd={kind}; {how}{detail}"


def hit_status(rows: int, is_batch: bool, tier: str) -> str:
    """Say that all answers were known, and where."""
    detail = f'"rows={rows},hits={rows}"' if is_batch else tier
    return f"gomlx; hit; detail={detail}"


def answered(
    live: LiveVersion,
    start: bytes,
    answers: Sequence[bytes],
    is_batch: bool,
    cache_status: str,
) -> Reply:
    """Return the reply that holds the answers, in the rows' order, after its start."""
    data = joined(answers) if is_batch else answers[0]
    return Reply(200, start + data + b"}", cache_status, live.digest)
