"""Replies as bytes of HTTP/1.1, and what the hot protocol itself refuses."""

from http import HTTPStatus

from gomlx.errors import GomlxError
from gomlx.server.prediction import Reply

# Says nothing, and may precede any answer: what comes back tells who is still there.
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in HTTPStatus
}
_RESPONSE = b"%b%bcontent-type: application/json\r\n%b%bcontent-length: %d\r\n\r\n%b"


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
    return _RESPONSE % (
        _STATUS_LINES[reply.status],
        date,
        _extra_headers(reply),
        b"connection: close\r\n" if closes else b"",
        len(reply.body),
        reply.body,
    )


def _extra_headers(reply: Reply) -> bytes:
    if reply.version:
        lines = (
            f"cache-status: {reply.cache_status}\r\ngomlx-version: {reply.version}\r\n"
        )
    elif reply.retry_after is not None:
        lines = f"retry-after: {reply.retry_after}\r\n"
    else:
        return b""
    return lines.encode()
