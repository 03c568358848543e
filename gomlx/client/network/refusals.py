"""Responses that report an error → the error's class, by its HTTP status."""

import orjson

from gomlx.client.network.transport import Response
from gomlx.errors import (
    BadResponse,
    DeadlineExceeded,
    Forbidden,
    GomlxError,
    InvalidInput,
    ModelNotFound,
    NotReady,
    Overloaded,
    RunFailed,
    TooLarge,
    Unauthorized,
)

_REFUSALS: dict[int, type[GomlxError]] = {
    error.status: error
    for error in (
        InvalidInput,
        Unauthorized,
        Forbidden,
        ModelNotFound,
        TooLarge,
        Overloaded,
        RunFailed,
        NotReady,
    )
}
_LONGEST_TEXT = 500
_NO_SLOT = "context deadline exceeded"  # mly: the row waited for too long to be run


def accepted(response: Response) -> Response:
    """Return a response of status 200 or 304.

    Raises what the service refused with; DeadlineExceeded for a time-out of a host or
    a proxy; BadResponse for any other status.
    """
    status = response.status
    if status in (200, 304):
        return response
    message = _message(response)
    if status in (408, 504):
        raise DeadlineExceeded(message)
    if status not in _REFUSALS:
        raise BadResponse(f"status {status}: {message}")
    if status == RunFailed.status and message == _NO_SLOT:
        raise Overloaded.from_message(message)
    retry_after = _seconds(response.headers.get("retry-after"))
    raise _REFUSALS[status].from_message(message, retry_after)


def _message(response: Response) -> str:
    """Return the text of an error: a service's is in JSON, that of others the body."""
    try:
        text = str(orjson.loads(response.body)["error"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        text = response.body[:_LONGEST_TEXT].decode("utf-8", "replace").strip()
        if response.status == InvalidInput.status:  # mly: a result follows the reason
            text = text.partition("\n")[0]
    return text or f"status {response.status} without a text"


def _seconds(retry_after: str | None) -> int | None:
    return int(retry_after) if retry_after and retry_after.isdecimal() else None
