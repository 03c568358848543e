"""The id that a call's requests have, for the logs of the service and of proxies."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_MOST_CHARACTERS = 128
# Of the call that runs: the tasks that it starts have it, too.
_current: ContextVar[str] = ContextVar("gomlx request id", default="")


@contextmanager
def named(request_id: str | None) -> Iterator[None]:
    """Have requests that begin inside say this id; None: that of the caller, if any.

    Raises ValueError for one that a service would replace.
    """
    if request_id is None:
        yield
        return
    is_id = request_id.isascii() and request_id.isprintable()
    if not (is_id and 0 < len(request_id) <= _MOST_CHARACTERS):
        raise ValueError(
            f"request_id: expected 1 to {_MOST_CHARACTERS} printable characters of "
            f"ASCII, got {request_id[: _MOST_CHARACTERS + 1]!r}"
        )
    before = _current.set(request_id)
    try:
        yield
    finally:
        _current.reset(before)


def id_headers() -> dict[str, str]:
    """Return the header that says the id of the call; none where it has none."""
    request_id = _current.get()
    return {"X-Request-Id": request_id} if request_id else {}
