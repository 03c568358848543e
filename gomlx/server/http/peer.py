"""The peer of a connection, by way of its asyncio transport."""

import asyncio
import socket
import ssl
from enum import Enum
from functools import cached_property
from typing import Any

from gomlx.server.access.caller import Caller, caller_at
from gomlx.server.http.response import CONTINUE

_TCP_CLOSE = 7  # Linux' state of a connection that its peer has reset


class Inflow(Enum):
    """What comes from the peer.

        OPEN ◄──► PAUSED
          │          │
          └► ENDED ◄─┘

    The peer ends it; we pause it.
    """

    OPEN = "the peer may send more, and is read from"
    PAUSED = "it is not read from"
    ENDED = "it sends no more: half-closed, or disconnected"


class Peer:
    """The peer: what it sends, and what it is sent.

    address: without the port. is_blocked: the peer does not read, and the transport's
    buffer is full. unsent: the answers that wait for the end of the turn.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self.address = address_of(transport)
        self.inflow = Inflow.OPEN
        self.is_blocked = False
        self.unsent: list[bytes] = []
        self._transport = transport

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS of the connection, if it has any."""
        found: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object")
        return found

    @cached_property
    def caller(self) -> Caller:
        """Who that is for routes that not everybody may use."""
        return caller_at(self._transport)

    @property
    def has_agreed_on_http2(self) -> bool:
        """Whether the handshake of TLS has chosen HTTP/2."""
        tls = self.tls
        return tls is not None and tls.selected_alpn_protocol() == "h2"

    @property
    def addresses(self) -> dict[str, Any]:
        """The addresses of the client and the server, as ASGI has them."""
        info = self._transport.get_extra_info
        return {"client": info("peername"), "server": info("sockname")}

    def send(self) -> None:
        """Write the answers that wait."""
        unsent = self.unsent
        if unsent:
            self.unsent = []
            self._transport.write(b"".join(unsent))

    def discard_unsent(self) -> None:
        """Drop the answers that wait."""
        self.unsent.clear()

    def set_reading(self, is_reading: bool) -> None:
        """Read from the peer, or stop until this is called again."""
        if is_reading and self.inflow is Inflow.PAUSED:
            self._transport.resume_reading()
            self.inflow = Inflow.OPEN
        elif not is_reading and self.inflow is Inflow.OPEN:
            self._transport.pause_reading()
            self.inflow = Inflow.PAUSED

    def probe(self) -> None:
        """Provoke a reset by a peer that has disconnected; a half-closed one reads on.

        Writes 100 Continue, which may precede any answer over HTTP/1.1. Call
        `abort_if_reset` a moment later.
        """
        self.unsent.append(CONTINUE)
        self.send()

    def abort_if_reset(self) -> None:
        """Abort the connection if the peer has reset it.

        The transport does not notice while it neither reads nor writes.
        """
        if self.inflow is Inflow.ENDED and _is_reset(self._transport):
            self.abort()

    def abort(self) -> None:
        """Close the connection without writing the rest."""
        self._transport.abort()

    def close(self) -> None:
        """Close the connection once all is written."""
        self.send()
        self._transport.close()

    def set_protocol(self, protocol: asyncio.Protocol) -> None:
        """Have another protocol of ours go on, which knows all that this knows."""
        self._transport.set_protocol(protocol)

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Give the transport to another protocol."""
        self.set_reading(True)
        self._transport.set_protocol(protocol)
        protocol.connection_made(self._transport)


def address_of(transport: asyncio.BaseTransport) -> str:
    """Return the peer's address; "" if it has none, or has disconnected."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else ""


def _is_reset(transport: asyncio.Transport) -> bool:
    connected = transport.get_extra_info("socket")
    if connected.family == socket.AF_UNIX:
        return False  # the transport notices, since it has written
    state = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return bool(state[0] == _TCP_CLOSE)
