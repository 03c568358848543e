"""One request under way, and the reply that comes of it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import orjson

from gomlx.cache.tier import Found
from gomlx.contract.answer import joined
from gomlx.errors import GomlxError
from gomlx.models.current import Live
from gomlx.models.run import Outcome


class Reply(NamedTuple):
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


Done = Callable[[Reply], None]


class Owner(Protocol):
    """Who answers a request that had to wait."""

    def ended(self, prediction: "Prediction", /) -> None:
        """It waits no longer: with all of its answers, or an error. Called once."""

    def all_landed(self, prediction: "Prediction", /) -> None:
        """No computation is for it any more. Called once, maybe long after."""


class Prediction:
    """One request under way: the answers it has, and how many it still lacks.

    done takes its reply; owner is told what becomes of it, and makes that.
    """

    __slots__ = (
        *("answers", "bypass", "collapsed", "done", "error", "hits", "is_batch"),
        *("live", "missing", "owner", "started", "tier", "wanted_until"),
    )
    done: Done
    owner: Owner

    def __init__(
        self, live: Live, is_batch: bool, rows: int, started: float, until: float
    ) -> None:
        self.live, self.is_batch, self.started = live, is_batch, started
        self.wanted_until = until  # 0 when it has ended
        self.answers: list[bytes] = [b""] * rows
        self.missing = rows
        self.hits = self.collapsed = 0
        self.bypass = self.tier = ""
        self.error: GomlxError | None = None

    @property
    def name(self) -> str:
        """The model's."""
        return self.live.servable.version.name

    @property
    def seconds(self) -> float:
        """How long it waits for its answers."""
        return self.wanted_until - self.started

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

    def land(self, i: int, outcome: Outcome | Found) -> None:
        """Take the outcome of one row; the last one, or a failure, ends it."""
        self.missing -= 1
        if isinstance(outcome, bytes):
            self.answers[i] = outcome
        elif isinstance(outcome, Found):
            self.answers[i], self.tier = outcome
            self.hits += 1
        elif self.wanted_until:
            self.end(outcome)
        if not self.missing:
            try:
                if self.wanted_until:
                    self.end()
            finally:
                self.owner.all_landed(self)

    def end(self, error: GomlxError | None = None) -> None:
        """It waits no longer. Rows of it that have not begun to run never will."""
        self.wanted_until = 0.0
        self.error = error
        self.owner.ended(self)

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
