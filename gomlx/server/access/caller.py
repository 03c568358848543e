"""Who calls the ASGI application: the peer of the connection, or a client of it."""

import asyncio
from typing import Any, NamedTuple

from gomlx.server.access.certificate import Certificate, certificate_of

_CALLER = "gomlx.caller"  # in a scope


class Caller(NamedTuple):
    """The peer of a connection.

    address: without the port; "" if it has none, or has disconnected. client: whose
    request it is, where a trusted proxy says so.
    """

    address: str
    certificate: Certificate
    client: str = ""

    @property
    def addresses(self) -> list[str]:
        """Those by which a request is judged: each has to be allowed."""
        return [self.address, self.client] if self.client else [self.address]


def caller_at(transport: asyncio.BaseTransport) -> Caller:
    """Return who is at the other end of a transport."""
    name = transport.get_extra_info("peername")
    address = str(name[0]) if isinstance(name, tuple) else ""
    return Caller(address, certificate_of(transport.get_extra_info("ssl_object")))


def with_caller(scope: dict[str, Any], caller: Caller) -> dict[str, Any]:
    """Return the scope of a request with who calls, for `caller_of`."""
    return {**scope, _CALLER: caller}


def caller_of(scope: Any) -> Caller:
    """Return who calls."""
    found: Caller = scope[_CALLER]
    return found
