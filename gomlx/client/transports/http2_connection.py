"""One connection of HTTP/2 to a host: requests in, whole responses out.

    request ─► the engine ─► the end of this turn of the loop: one write for all
    data_received ─► the engine ─► the response of a stream is whole ─► its future

The one file of the client that knows ngh2, which binds libnghttp2. Frames, HPACK, the
windows of both sides and how many streams the host allows are the library's: what may
not be sent yet waits in it.

The connection ends so that no request is lost:

    CONNECTING ─► OPEN ── the host's GOAWAY, idle or replaced ──► LEAVING
    LEAVING ── the last stream has ended ──► OVER
    any ── disconnected, a rule is broken, or a PING is not answered ──► OVER

What a host says it has not begun with raises Refused, and may be sent again at once.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, cast

from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    DataReceived,
    ErrorCode,
    GoAwayReceived,
    Header,
    NGH2Error,
    ResponseReceived,
    Role,
    Setting,
    StreamClosed,
    TrailersReceived,
)

from gomlx.client.network.transport import Response
from gomlx.client.transports.http2_stream import Http2Stream, Refused
from gomlx.errors import BadResponse, ConnectionFailed, GomlxError

_CHUNK_BYTES = 1 << 18  # what is written at once
_UNWRITTEN_BYTES = 1 << 20  # then the host has to read first
_PING_SECONDS = 1.0  # a host that is silent for longer has disconnected
_CLOSE_SECONDS = 1.0
_SETTINGS = {Setting.ENABLE_PUSH: 0, Setting.INITIAL_WINDOW_SIZE: 1 << 20}
_WINDOW_BYTES = 1 << 23  # of the connection
_CONFIGURATION = Configuration()


class Http2Connection(asyncio.Protocol):
    """One connection, and the streams on it. For one event loop.

    Requests may be made before it is connected. is_usable: whether more may be made.
    over: once it is closed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.is_usable = True
        self.over = asyncio.Event()
        self._loop = loop
        self._h2 = Connection(Role.CLIENT, _CONFIGURATION)
        self._transport: asyncio.Transport | None = None
        self._streams: dict[int, Http2Stream] = {}
        self._heard_at = loop.time()
        self._pinged_at = 0.0
        self._will_flush = False
        self._h2.initiate_connection(_SETTINGS)
        self._h2.set_local_window_size(_WINDOW_BYTES)

    async def request(self, fields: Iterable[Header], body: bytes | None) -> Response:
        """Return the whole response. Raises Refused, ConnectionFailed or BadResponse.

        fields: the pseudo-headers and the headers; body: None for a GET.
        """
        try:
            number = self._h2.send_request(fields, end_stream=body is None)
            if body is not None:
                self._h2.send_data(number, body, end_stream=True)
        except NGH2Error as error:
            self.is_usable = False
            raise Refused(str(error)) from None
        stream = Http2Stream(self._loop.create_future(), self._loop.time())
        self._streams[number] = stream
        self._flush_soon()
        try:
            return await stream.response
        finally:
            if self._streams.pop(number, None) is not None:
                self._give_up(number, stream)

    def _give_up(self, number: int, stream: Http2Stream) -> None:
        """Have the host drop a request, for whose response no caller waits."""
        self._reset(number)
        if self._transport is None:
            if not self._streams:  # no caller waits for the connection any more
                self.fail(ConnectionFailed, "not connected in time")
            return
        if self._heard_at <= stream.began and self._pinged_at <= self._heard_at:
            self._pinged_at = self._loop.time()
            self._ping()
        self._flush_soon()
        self._close_if_left()

    def _reset(self, number: int) -> None:
        try:
            self._h2.reset_stream(number, ErrorCode.CANCEL)
        except NGH2Error:
            return  # the connection has ended

    def _ping(self) -> None:
        """Ask whether the host is slow, or gone."""
        try:
            self._h2.ping()
        except NGH2Error:
            return

    # --- its life ---

    def leave(self) -> None:
        """Make no more requests; close once the last has been answered."""
        self.is_usable = False
        self._close_if_left()

    def fail(self, error: type[GomlxError], text: str) -> None:
        """Close at once: each request under way raises such an error."""
        self.is_usable = False
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.fail(error(text))
        if self._transport is None:
            self.over.set()
        else:
            self._transport.close()

    def check(self, now: float, idle_seconds: float) -> None:
        """Leave if it has been idle for so long; fail if it answers no PING."""
        if self._pinged_at > self._heard_at:
            if now - self._pinged_at > _PING_SECONDS:
                self.fail(ConnectionFailed, "the host is silent, and answers no PING")
                self.abort()
        elif not self._streams and now - self._heard_at > idle_seconds:
            if not self.is_usable:
                self.abort()  # the host reads nothing, not even the end
            self.leave()

    def abort(self) -> None:
        """Close without writing the rest."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close, and wait for that."""
        self.fail(ConnectionFailed, "the client is closed")
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.over.wait()
        except TimeoutError:  # over TLS, a host may not say that it has closed
            self.abort()

    def _close_if_left(self) -> None:
        if not self.is_usable and not self._streams and self._transport is not None:
            self._transport.close()

    # --- asyncio's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._heard_at = self._loop.time()
        tls = transport.get_extra_info("ssl_object")
        if tls is not None and tls.selected_alpn_protocol() != "h2":
            self.fail(BadResponse, "the host does not agree on HTTP/2 (by ALPN)")
        elif self.is_usable:
            self._flush()
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._heard_at = self._loop.time()
        try:
            self._h2.receive_data(data)
        except NGH2Error as error:
            self.fail(BadResponse, f"not HTTP/2: {error}")
            return
        self._handle(self._h2.events())
        self._flush()  # answers to SETTINGS and PING, and open windows

    def resume_writing(self) -> None:
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        self.over.set()
        self.fail(ConnectionFailed, str(error or "the host has closed the connection"))

    # --- between the engine and the host ---

    def _flush_soon(self) -> None:
        if not self._will_flush:
            self._will_flush = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what the engine has for the host, as far as its windows allow."""
        self._will_flush = False
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        while transport.get_write_buffer_size() < _UNWRITTEN_BYTES:
            data = self._h2.data_to_send(_CHUNK_BYTES)
            if data:
                transport.write(data)
            if len(data) < _CHUNK_BYTES:
                break
        self._handle(self._h2.events())  # streams that the engine itself has reset

    def _handle(self, events: Any) -> None:
        streams = self._streams
        for event in events:
            kind = type(event)
            if kind is DataReceived:
                if (stream := streams.get(event.stream_id)) is not None:
                    stream.parts.append(event.data)
                    if event.end_stream:
                        self._finish(event.stream_id, stream)
            elif kind is ResponseReceived:
                if (stream := streams.get(event.stream_id)) is not None:
                    stream.fields = event.headers
                    if event.end_stream:
                        self._finish(event.stream_id, stream)
            elif kind is StreamClosed:  # after its response, as nearly always
                if (stream := streams.pop(event.stream_id, None)) is not None:
                    stream.fail(_failure(event))
                    self._close_if_left()
            else:
                self._handle_rare(event)

    def _handle_rare(self, event: Any) -> None:
        if isinstance(event, TrailersReceived):
            if (stream := self._streams.get(event.stream_id)) is not None:
                self._finish(event.stream_id, stream)
        elif isinstance(event, GoAwayReceived):
            self._go_away(event.last_stream_id)
        elif isinstance(event, ConnectionClosed):
            kind = BadResponse if event.error_code else ConnectionFailed
            self.fail(kind, f"HTTP/2 has ended: {_name(event.error_code)}")

    def _finish(self, number: int, stream: Http2Stream) -> None:
        del self._streams[number]
        stream.finish()
        if self._h2.queued_body_size(number):  # of a request that was refused early
            self._reset(number)
        self._close_if_left()

    def _go_away(self, last_stream: int) -> None:
        """Have what the host has not begun with sent elsewhere."""
        self.is_usable = False
        refused = [number for number in self._streams if number > last_stream]
        for number in refused:
            self._streams.pop(number).fail(Refused("GOAWAY"))
        self._close_if_left()


def _failure(event: StreamClosed) -> Exception:
    """Return the error of a stream that has ended without a whole response."""
    name = _name(event.error_code)
    if event.error_code == ErrorCode.REFUSED_STREAM:
        return Refused(name)
    if event.error_code == ErrorCode.PROTOCOL_ERROR:
        return BadResponse(f"not an answer in HTTP/2: {event.local_error or name}")
    return ConnectionFailed(f"the host has reset the request: {name}")


def _name(code: int) -> str:
    return ErrorCode(code).name if code in set(ErrorCode) else str(code)
