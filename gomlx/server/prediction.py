"""One request under way, and the reply that comes of it."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from gomlx.cache.tier import Found
from gomlx.contract.answer import joined
from gomlx.errors import GomlxError
from gomlx.models.batcher import Outcome
from gomlx.models.current import Live


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

    def land(self, i: int, outcome: Outcome | Found) -> None:
        """Take the outcome of one row; after the last one, all is done."""
        if isinstance(outcome, bytes):
            self.answers[i] = outcome
        elif isinstance(outcome, Found):
            self.answers[i], self.tier = outcome
            self.hits += 1
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
