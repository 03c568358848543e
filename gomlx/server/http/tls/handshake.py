"""A connection of TLS until its handshake is over: it has a place, and little time.

asyncio tells a protocol of a connection once the handshake is over, so peers that stall
it would be neither counted nor bounded. So a connection is accepted in the clear, has a
place among all others, and then begins with TLS.

    connection_made ─► start_tls ─► the protocol that reads requests
                         └► it fails, takes too long, or makes room for another one
"""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine
from typing import Any, cast

from gomlx.server.http.connections import Connections
from gomlx.server.http.peer import address_of
from gomlx.server.peers.transport import proxied_as, raw_of

# How long a stop waits for a peer that does not read, and so confirms no end.
_SHUTDOWN_SECONDS = 5.0


class Handshake(asyncio.Protocol):
    """One connection. It keeps what arrives with the end of its handshake."""

    address = ""

    def __init__(
        self,
        connections: Connections,
        context: ssl.SSLContext,
        successor: Callable[[Connections], asyncio.Protocol],
    ) -> None:
        """successor: makes the protocol that reads requests."""
        self._connections = connections
        self._context = context
        self._successor = successor
        self._since = connections.now
        self._received = b""
        self._has_ended = False  # the peer sends no more, or the connection is closed
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.address = address_of(transport)
        raw = raw_of(self._transport)
        connections = self._connections
        if connections.places.has_room(connections.join(self), self):
            # Begun at once: what the peer has sent would be read in the clear before
            # a task begins.
            shaking = _Begun(self._shake_hands(raw))
            self._task = asyncio.get_running_loop().create_task(shaking.rest())
        else:
            connections.leave(self)
            raw.abort()

    def data_received(self, data: bytes) -> None:
        self._received += data

    def eof_received(self) -> None:
        self._has_ended = True

    def connection_lost(self, error: Exception | None) -> None:
        self._has_ended = True

    def waits_since(self) -> float | None:
        """When the connection began, as it always waits for its peer."""
        task = self._task
        return None if task is None or task.done() else self._since

    def make_room(self) -> None:
        """Close the connection."""
        if self._task:
            self._task.cancel()
        self._transport.abort()

    def check(self, now: float) -> None:
        """Close the connection if the service stops; `start_tls` bounds its time."""
        if self._connections.is_stopping:
            self.make_room()

    async def _shake_hands(self, raw: asyncio.Transport) -> None:
        secure = None
        try:
            secure = await asyncio.get_running_loop().start_tls(
                raw,
                self,
                self._context,
                server_side=True,
                ssl_handshake_timeout=self._connections.limits.receive_seconds,
                ssl_shutdown_timeout=_SHUTDOWN_SECONDS,
            )
        except OSError:
            raw.abort()  # the peer has left, or the handshake has failed
        finally:
            self._connections.leave(self)
        if secure is not None:
            self._hand_over(secure)

    def _hand_over(self, secure: asyncio.Transport) -> None:
        """Give the connection to the protocol that reads requests."""
        if self._has_ended:
            secure.abort()
            return
        protocol = self._successor(self._connections)
        secure.set_protocol(protocol)
        protocol.connection_made(proxied_as(secure, self._transport))
        if self._received:
            protocol.data_received(self._received)


class _Begun:
    """A coroutine that runs to its first wait at once, and whose rest a task runs."""

    def __init__(self, begun: Coroutine[Any, Any, None]) -> None:
        self._coroutine = begun
        self._awaited: Any = None
        self._is_over = False
        self._step(partial(begun.send, None))

    def _step(self, step: Callable[[], Any]) -> None:
        try:
            self._awaited = step()
        except StopIteration:
            self._is_over = True

    async def rest(self) -> None:
        """Run on."""
        await self._rest()

    @coroutine
    def _rest(self) -> Generator[Any, None, None]:
        while not self._is_over:
            try:
                yield self._awaited
            except BaseException as error:
                self._step(partial(self._coroutine.throw, error))
            else:
                self._step(partial(self._coroutine.send, None))
