"""Gunicorn's protocol, for connections that were handed over, with an idle timeout."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol


class WatchedConnection(ASGIProtocol):  # type: ignore[misc]  # Gunicorn has no types
    """A connection that is closed once it has been idle for too long.

    Gunicorn does not limit how long a request may take to arrive. A connection
    is active when the peer sends, when it reads what is written, and while the
    application works: while it runs, and neither waits for more of the request nor for
    the peer to read.

    watched: the connections that are open; `check` each of them once a second.
    http2_idle_seconds: how long one of HTTP/2 is kept without a request.
    """

    def __init__(
        self,
        worker: Any,
        watched: "set[WatchedConnection]",
        http2_idle_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(worker)
        self._watched = watched
        self._http2_idle_seconds = http2_idle_seconds
        self._clock = clock
        self._working = 0  # calls of the application that do not wait for the peer
        self._unsent = 0  # bytes, at the last check
        self._active_at = clock()
        self._application = worker.asgi
        self.app = self._call

    @property
    def is_working(self) -> bool:
        """Whether the application works on a request."""
        return self._working > 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._watched.add(self)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._active_at = self._clock()
        super().data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._watched.discard(self)
        super().connection_lost(error)

    def check(self, now: float, idle_seconds: float) -> None:
        """Close the connection if it has been idle for so long; now: by the clock."""
        unsent = self.transport.get_write_buffer_size()
        if self._working or unsent < self._unsent:
            self._active_at = now
        self._unsent = unsent
        if now - self._active_at > idle_seconds:
            self.transport.abort()

    async def _handle_http2_connection(self, *args: Any, **options: Any) -> None:
        # Gunicorn's own timeout is short, as it cannot close an idle connection of
        # HTTP/1.1 when it stops. One of HTTP/2 it can.
        self._keepalive = self._http2_idle_seconds
        await super()._handle_http2_connection(*args, **options)

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application, and note when it waits for the peer."""

        async def watched_receive() -> Any:
            self._working -= 1
            try:
                return await receive()
            finally:
                self._working += 1

        async def watched_send(message: Any) -> None:
            self._working -= 1
            try:
                await send(message)
            finally:
                self._working += 1
                self._active_at = self._clock()

        self._working += 1
        try:
            await self._application(scope, watched_receive, watched_send)
        finally:
            self._working -= 1
