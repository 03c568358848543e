"""What clients may take."""

from typing import NamedTuple


class HttpLimits(NamedTuple):
    """What one connection may take; connections: how many there may be in all.

    request_seconds: from a request's last byte to its answer; the others of seconds:
    for a request to arrive, and for the next one to begin.
    """

    body_bytes: int
    header_bytes: int
    receive_seconds: float
    keepalive_seconds: float
    request_seconds: float
    connections: int
