"""The limits of connections and requests."""

from typing import NamedTuple

from gomlx.server.body import BodyBudget


class HttpLimits(NamedTuple):
    """What one connection may use.

    receive_seconds: for a request to arrive, from its first byte to its last.
    keepalive_seconds: for the next request to begin. request_seconds: from a request's
    last byte to its answer. connections: the most that a worker has open. bodies: what
    its requests hold together.
    """

    body_bytes: int
    header_bytes: int
    receive_seconds: float
    keepalive_seconds: float
    request_seconds: float
    connections: int
    bodies: BodyBudget
