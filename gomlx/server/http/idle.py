"""Gunicorn's protocol, for connections that were handed over, with an idle timeout.

A connection is never closed behind an answer that does not announce it: a client would
send its next request, and find it lost.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from gunicorn.asgi.parser import LimitRequestHeaders
from gunicorn.asgi.protocol import ASGIProtocol

from gomlx.server.access.caller import Caller, caller_at, with_caller
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.response import HeadTooLarge, ReceiveTimeout

log = logging.getLogger(__name__)

_REST_BYTES = 1 << 18  # of a body that the application does not read
_REST_SECONDS = 1.0  # for it to arrive
_WITHOUT_BODY = (204, 304)
_CLOSE = (b"connection", b"close")
_FRAMING_BYTES = 16  # of a chunk of one byte: its size, two ends of lines, and some


@dataclass
class _Arrival:
    """How one request of HTTP/1.1 arrives.

    begun_at: when its head did, while that is incomplete, or 0. bytes: all that has
    arrived, after the head without it. body_bytes: what is in the chunks of its body.
    is_answered: its response has begun. closes: it says that the connection ends.
    """

    begun_at: float = 0.0
    bytes: int = 0
    body_bytes: int = 0
    is_answered: bool = False
    closes: bool = False

    def is_mostly_framing(self, limits: HttpLimits) -> bool:
        """Whether chunks are framed by, or followed by, more than small ones need."""
        allowed = limits.header_bytes + _FRAMING_BYTES * self.body_bytes
        return self.bytes - self.body_bytes > allowed


class Watched(Protocol):
    """The connections that are open."""

    def add(self, connection: "WatchedConnection", /) -> None:
        """Note a connection that begins."""

    def discard(self, connection: "WatchedConnection", /) -> None:
        """Forget a connection that has ended."""


class WatchedConnection(ASGIProtocol):  # type: ignore[misc]  # Gunicorn has no types
    """A connection that is closed once it has been idle for too long.

    A connection is active when the peer sends, when it reads what is written, and while
    the application works: while it runs, and neither waits for more of the request nor
    for the peer to read.

    Gunicorn limits neither how long a head may take to arrive nor how large it is as a
    whole, nor what frames the chunks of a body. Such limits are those of the hot
    protocol. (How long a body may take is the route's business: a stream has no end.)

    watched: the connections that are open; `check` each of them once a second.
    """

    def __init__(
        self,
        worker: Any,
        watched: "Watched",
        limits: HttpLimits,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(worker)
        self._keepalive = limits.keepalive_seconds
        self._watched = watched
        self._limits = limits
        self._clock = clock
        self._working = 0  # calls of the application that do not wait for the peer
        self._unsent = 0  # bytes, at the last check
        self._active_at = clock()
        self._arrival = _Arrival()
        self._application = worker.asgi
        self.app = self._call

    @cached_property
    def caller(self) -> Caller:
        """The peer; read while the connection is open."""
        return caller_at(self.transport)

    @property
    def address(self) -> str:
        """The peer's."""
        return self.caller.address

    @property
    def is_working(self) -> bool:
        """Whether the application works on a request."""
        return self._working > 0

    @property
    def is_draining(self) -> bool:
        """Whether the service ends soon: the next answer closes the connection."""
        return False

    @property
    def is_idle(self) -> bool:
        """Whether it is between two requests of HTTP/1.1."""
        is_between = self._awaiting_request and not self._arrival.begun_at
        return bool(is_between and not self._finishing_calls)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._watched.add(self)

    def data_received(self, data: bytes) -> None:
        self._active_at = self._clock()
        if self._is_waiting_for_head() and not self._arrival.begun_at:
            self._arrival = _Arrival(self._active_at)
        self._arrival.bytes += len(data)
        try:
            super().data_received(data)
        except Exception as error:  # of Gunicorn's parser: numbers of 5,000 digits
            log.debug("a request that Gunicorn cannot parse", exc_info=error)
            self._refuse(400, "malformed request")
            return
        if self._is_in_chunks() and self._arrival.is_mostly_framing(self._limits):
            self._refuse(431, "chunk extensions or trailers are too large")

    def close(self) -> None:
        """Close the connection, which is idle."""
        self._close_transport()

    def waits_since(self) -> float | None:
        """When the connection began to wait for its peer, if it does."""
        return None if self._working or self._closed else self._active_at

    def make_room(self) -> None:
        """Close the connection, which waits for its peer."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # it does not read the rest
        else:
            self._close_transport()

    async def _serve_http_request(self, request: Any, *addresses: Any) -> bool:
        """Have a request answered; return whether Gunicorn goes on with the next."""
        goes_on = await super()._serve_http_request(request, *addresses)
        return goes_on and not self._arrival.closes

    def connection_lost(self, error: Exception | None) -> None:
        self._watched.discard(self)
        super().connection_lost(error)

    def check(self, now: float, idle_seconds: float) -> None:
        """Close the connection if it has been idle for so long; now: by the clock."""
        unsent = self.transport.get_write_buffer_size()
        if self._working or unsent < self._unsent:
            self._active_at = now
        self._unsent = unsent
        waited = now - (self._arrival.begun_at or now)
        if waited > self._limits.receive_seconds and self._is_waiting_for_head():
            self._refuse(408, str(ReceiveTimeout()))
        elif now - self._active_at > idle_seconds:
            self.transport.abort()

    def _is_waiting_for_head(self) -> bool:
        """Whether the next bytes, over HTTP/1.1, are of a head."""
        ready = self._request_ready
        return self.reader is None and not (ready and ready.is_set())

    def _is_in_chunks(self) -> bool:
        """Whether the body of a request is arriving in chunks."""
        parser = self._callback_parser
        request = self._current_request
        return bool(parser and request and request.chunked and not parser.is_complete)

    def _on_headers_complete(self) -> Any:
        parser = self._callback_parser
        size = sum(len(name) + len(value) + 4 for name, value in parser.headers)
        if size + len(parser.path) > self._limits.header_bytes:
            raise LimitRequestHeaders(str(HeadTooLarge(self._limits.header_bytes)))
        # A pipelined request may have come with the one before: it has not begun.
        received = self._arrival.bytes - size if self._arrival.begun_at else 0
        self._arrival = _Arrival(bytes=received)
        return super()._on_headers_complete()

    def _on_body(self, chunk: bytes) -> None:
        self._arrival.body_bytes += len(chunk)
        super()._on_body(chunk)

    def _refuse(self, status: int, message: str) -> None:
        """Answer as Gunicorn does, and close; in the middle of an answer, close."""
        if not self._arrival.is_answered:
            self._send_error_response(status, message)
        self._close_transport()

    async def _call(self, scope: Any, receive: Any, send: Any) -> None:
        """Call the application, and note when it waits for the peer."""

        async def watched_receive() -> Any:
            self._working -= 1
            try:
                return await receive()
            finally:
                self._working += 1

        async def watched_send(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = await self._as_connection_goes_on(message)
            self._arrival.is_answered = True
            self._working -= 1
            try:
                await send(message)
            finally:
                self._working += 1
                self._active_at = self._clock()

        self._working += 1
        called = with_caller(scope, self.caller)
        try:
            await self._application(called, watched_receive, watched_send)
        finally:
            self._working -= 1

    async def _as_connection_goes_on(self, start: Any) -> Any:
        """Return the start of a response, which says if the connection is closed.

        Gunicorn closes it, and says nothing, if the body of the request has not arrived
        by the end of the response. Clients often send it a moment after the head.
        Responses without a length are streams, which may begin before the body ends.
        """
        names = [name.lower() for name, _ in start.get("headers", ())]
        has_end = b"content-length" in names or start["status"] in _WITHOUT_BODY
        if self.reader is not None:
            return start
        self._arrival.closes = b"connection" in names
        if self._arrival.closes:
            return start
        if not self.is_draining and (not has_end or await self._has_all()):
            return start
        self._arrival.closes = True
        return {**start, "headers": [*start.get("headers", ()), _CLOSE]}

    async def _has_all(self) -> bool:
        """Drop what arrives of the request's body; return whether that is all of it."""
        receiver = self._body_receiver
        if receiver is None or receiver._complete:
            return True
        if receiver.expect_continue:  # the client has not begun to send it
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(_REST_SECONDS):
                size = 0
                while not receiver._complete and size <= _REST_BYTES:
                    message = await receiver.receive()
                    if message["type"] == "http.disconnect":
                        break
                    size += len(message["body"])
        return bool(receiver._complete)
