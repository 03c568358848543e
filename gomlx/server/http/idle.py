"""Gunicorn's protocol, for connections that were handed over: no endless ones."""

import asyncio
import time
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol


class Watched(ASGIProtocol):  # type: ignore[misc]  # Gunicorn has no types
    """A connection that is closed once nothing has happened on it for too long.

    Gunicorn has no limit of its own on a request that never ends. What happens is: the
    peer is heard, it takes what is written, or the application works: it is called, and
    waits neither for more of the request nor for the peer to read.

    idle_seconds: how long one of HTTP/2 is kept without a request.
    """

    def __init__(
        self, worker: Any, watched: "set[Watched]", idle_seconds: float
    ) -> None:
        super().__init__(worker)
        self._watched, self._idle_seconds = watched, idle_seconds
        self._working = 0  # calls of the application that wait for nothing of the peer
        self._unsent = 0
        self._alive = time.monotonic()
        self._called, self.app = worker.asgi, self._call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._watched.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._alive = time.monotonic()
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._watched.discard(self)
        super().connection_lost(error)

    def check(self, now: float, seconds: float) -> None:
        """Close the connection if nothing has happened for so long."""
        unsent = self.transport.get_write_buffer_size()
        if self._working or unsent < self._unsent:
            self._alive = now
        self._unsent = unsent
        if now - self._alive > seconds:
            self.transport.abort()

    async def _handle_http2_connection(self, *given: Any, **named: Any) -> None:
        # Gunicorn's own is short, for HTTP/1.1: of that it cannot close an idle one
        # when it stops.
        self._keepalive = self._idle_seconds
        await super()._handle_http2_connection(*given, **named)

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application, and see what it waits for."""

        async def received() -> Any:
            self._working -= 1
            try:
                return await receive()
            finally:
                self._working += 1

        async def sent(message: Any) -> None:
            self._working -= 1
            try:
                await send(message)
            finally:
                self._working += 1
                self._alive = time.monotonic()

        self._working += 1
        try:
            await self._called(scope, received, sent)
        finally:
            self._working -= 1
