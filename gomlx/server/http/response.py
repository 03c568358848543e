"""Replies as bytes of HTTP/1.1, and what the hot protocol refuses."""

from functools import lru_cache
from http import HTTPStatus

from gomlx.errors import GomlxError
from gomlx.server.predict.reply import Reply

# Means nothing, and may precede any answer.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_RESPONSE = b"%b%bcontent-length: %d\r\n\r\n%b"


class ReceiveTimeout(GomlxError):
    """A request that did not arrive in time."""

    status = 408

    def __init__(self) -> None:
        super().__init__("the request did not arrive in time")


class HeadTooLarge(GomlxError):
    """A request line and headers over the limit, which is in bytes."""

    status = 431

    def __init__(self, limit: int) -> None:
        super().__init__(f"the head is larger than {limit} bytes")


class TooManyConnections(GomlxError):
    """The worker has as many connections as it may have."""

    status = 503
    retry_after = 1

    def __init__(self) -> None:
        super().__init__("too many connections")


def response(reply: Reply, lines: bytes, connection: str) -> bytes:
    """Return a whole response.

    lines: headers that every response has. connection: the value of Connection; "": no
    such header.
    """
    head = _head(
        reply.status, reply.cache_status, reply.version, reply.retry_after, connection
    )
    body = reply.body
    return _RESPONSE % (head, lines, len(body), body)


# PERF: one costs 2 us to make, and all hits of a model have the same.
@lru_cache(1024)
def _head(
    status: int,
    cache_status: str,
    version: str,
    retry_after: int | None,
    connection: str,
) -> bytes:
    """Return the status line, and the headers that many responses share."""
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/json",
    ]
    if version:
        lines += [f"cache-status: {cache_status}", f"gomlx-version: {version}"]
    elif retry_after is not None:
        lines.append(f"retry-after: {retry_after}")
    if connection:
        lines.append(f"connection: {connection}")
    return "\r\n".join([*lines, ""]).encode()
