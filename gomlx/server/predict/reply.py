"""What a protocol sends: an answer or a refusal, and where the answer is from."""

from dataclasses import dataclass

import orjson

from gomlx.errors import GomlxError

# Cache-Status as RFC 9211 has it. One computed row, as in most requests that miss:
STORED = "gomlx; fwd=miss; stored"
COLLAPSED = "gomlx; fwd=miss; collapsed"


@dataclass(slots=True)
class Reply:
    """The parts of a response that do not depend on the protocol.

    body: JSON. version: the digest of the version that answered. retry_after: seconds.
    """

    status: int
    body: bytes
    cache_status: str = ""
    version: str = ""
    retry_after: int | None = None


def refusal(error: GomlxError) -> Reply:
    """Return the reply that says what went wrong."""
    body = orjson.dumps({"status": "error", "error": str(error)})
    return Reply(error.status, body, retry_after=error.retry_after)


def hit_status(rows: int, is_batch: bool, tier: str) -> str:
    """Say that all answers were cached; tier: where that of a single row was."""
    detail = f'"rows={rows},hits={rows}"' if is_batch else tier
    return f"gomlx; hit; detail={detail}"


def miss_status(rows: int, is_batch: bool, hits: int, collapsed: int) -> str:
    """Say that some rows were computed; collapsed: for other requests as well."""
    kind = "partial" if hits else "miss"
    outcome = "collapsed" if collapsed == rows - hits else "stored"
    detail = f'; detail="rows={rows},hits={hits}"' if is_batch else ""
    return f"gomlx; fwd={kind}; {outcome}{detail}"


def bypass_status(reason: str) -> str:
    """Say that the cache was not used, and why."""
    return f"gomlx; fwd=bypass; detail={reason}"
