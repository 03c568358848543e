"""Replies as bytes of HTTP/1.1, and what the hot protocol itself refuses."""

from functools import lru_cache
from http import HTTPStatus

from gomlx.errors import GomlxError
from gomlx.server.predict.request import Reply

# Says nothing, and may precede any answer: what comes back tells who is still there.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESPONSE = b"%b%bcontent-length: %d\r\n\r\n%b"


class ReceiveTimeout(GomlxError):
    """A request that did not arrive in time."""

    status = 408


class HeadTooLarge(GomlxError):
    """A request line and headers over the limit."""

    status = 431


class TooManyConnections(GomlxError):
    """The worker has as many connections as it may."""

    status = 503
    retry_after = 1


def response(reply: Reply, date: bytes, closes: bool) -> bytes:
    """Return a whole response; date: its header's line."""
    head = _head(
        reply.status, reply.cache_status, reply.version, reply.retry_after, closes
    )
    body = reply.body
    return _RESPONSE % (head, date, len(body), body)


@lru_cache(1024)  # PERF: to make one takes 2 us; all hits of a model have the same
def _head(
    status: int,
    cache_status: str,
    version: str,
    retry_after: int | None,
    closes: bool,
) -> bytes:
    """Return what precedes the headers that every response has of its own."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += ["content-type: application/json"]
    if version:
        lines += [f"cache-status: {cache_status}", f"gomlx-version: {version}"]
    elif retry_after is not None:
        lines += [f"retry-after: {retry_after}"]
    if closes:
        lines += ["connection: close"]
    return "\r\n".join([*lines, ""]).encode()
