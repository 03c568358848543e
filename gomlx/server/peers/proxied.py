"""Connections that proxies pass on with the PROXY protocol: whose they are.

    connection_made ─► the header has arrived ─► the protocol that others begin with
                         └► malformed, late, or it makes room for another one

Only a trusted proxy may send a header. What it sends without one is its own.
"""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from gomlx.server.http.connections import Connections
from gomlx.server.http.peer import address_of
from gomlx.server.peers.proxy_header import NO_HEADER, ProxyHeader, proxy_header
from gomlx.server.peers.transport import ProxiedTransport

# Has a protocol go on with a connection whose first bytes have arrived.
Begin = Callable[[asyncio.Transport, bytes], None]


class ProxiedConnection(asyncio.Protocol):
    """One connection until it is known whose it is."""

    address = ""

    def __init__(
        self,
        connections: Connections,
        is_trusted: Callable[[str], bool],
        begin: Begin,
    ) -> None:
        """is_trusted: of an address: it may send a header. begin: what goes on."""
        self._connections = connections
        self._is_trusted = is_trusted
        self._begin = begin
        self._since = connections.now
        self._received = b""
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.address = address_of(transport)
        connections = self._connections
        if not connections.places.has_room(connections.join(self), self):
            self._end()
        elif not self._is_trusted(self.address):
            self._go_on(NO_HEADER)

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._received += data
        try:
            header = proxy_header(self._received)
        except ValueError:
            self._end()
            return
        if header is not None:
            self._go_on(header)

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()

    def waits_since(self) -> float | None:
        """When the connection began, as it always waits for its peer."""
        return None if self._is_over else self._since

    def make_room(self) -> None:
        """Close the connection."""
        self._end()

    def check(self, now: float) -> None:
        """Close the connection if the header takes too long, or the service stops."""
        is_late = now - self._since > self._connections.limits.receive_seconds
        if is_late or self._connections.is_stopping:
            self._end()

    def _go_on(self, header: ProxyHeader) -> None:
        self._leave()
        transport = self._transport
        if header.client is not None:
            transport = ProxiedTransport(transport, header.client)
        self._begin(transport, self._received[header.size :])

    def _end(self) -> None:
        self._leave()
        self._transport.abort()

    def _leave(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._connections.leave(self)


def _begun(
    make: Callable[[], asyncio.Protocol], transport: asyncio.Transport
) -> asyncio.Protocol:
    """Return a new protocol, which has the connection."""
    protocol = make()
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    return protocol


def begin_in_the_clear(
    make: Callable[[], asyncio.Protocol], transport: asyncio.Transport, first: bytes
) -> None:
    """Have a protocol go on; first: what it has to read."""
    protocol = _begun(make, transport)
    if first:
        protocol.data_received(first)


def begin_with_tls(
    make: Callable[[], asyncio.Protocol], transport: asyncio.Transport, first: bytes
) -> None:
    """Have a protocol go on that begins with TLS; first: of its handshake."""
    _begun(make, transport)
    if first:
        # Once asyncio has set up TLS, which it does in the next turn.
        asyncio.get_running_loop().call_soon(_feed, transport, first)


def _feed(transport: asyncio.Transport, data: bytes) -> None:
    """Give bytes to a connection's TLS, as the event loop does."""
    protocol: Any = transport.get_protocol()
    while data and not transport.is_closing():
        buffer = protocol.get_buffer(len(data))
        size = min(len(buffer), len(data))
        buffer[:size] = data[:size]
        protocol.buffer_updated(size)
        data = data[size:]
