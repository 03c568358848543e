"""One connection of HTTP/2: every route, the hot ones with those of HTTP/1.1.

    data_received ─► Engine ─► a request for a hot route ─► HotStream ─► Turn ─► …
                       │       any other ─► BridgedStream ─► the ASGI application
                       └ the answers of both ─► the end of the turn ─► the Peer

Each stream ends on its own: answered, or reset by the peer, which abandons its request.
The connection ends so that no request is lost:

    OPEN ── idle for long, or the service stops: a warning, and a PING ──► WARNED
    WARNED ── its answer, or a second later: GOAWAY ──► LEAVING
    LEAVING ── the last stream has ended ──► CLOSING
    any ── a rule or a limit is broken: GOAWAY ──► CLOSING
    CLOSING ── all is written ──► OVER

The answer to the PING tells that the peer knows: what it has sent before has arrived.
A stop waits for a moment without requests first, as some clients (Python's h2) read no
answer after a warning.
"""

import asyncio
from collections.abc import Callable
from enum import Enum
from functools import cache
from typing import Any, cast

from gomlx.server.http.connections import Connections
from gomlx.server.http.http2.bridge import AsgiApplication, BridgedStream, scope_of
from gomlx.server.http.http2.engine import (
    ConnectionClosed,
    DataReceived,
    Engine,
    EngineFailed,
    ErrorCode,
    Event,
    PingAcknowledged,
    RequestReceived,
    StreamClosed,
    TrailersReceived,
    WindowUpdated,
    goaway,
)
from gomlx.server.http.http2.fields import (
    FieldsParser,
    HeaderFields,
    response_fields,
    size_of,
)
from gomlx.server.http.http2.stream import HotStream
from gomlx.server.http.http2.traffic import Traffic
from gomlx.server.http.http2.upgrade import UpgradeRequest
from gomlx.server.http.peer import Peer
from gomlx.server.http.response import HeadTooLarge
from gomlx.server.predict.reply import Reply

_CHUNK_BYTES = 1 << 18  # what is written at once
_GAP_SECONDS = 5  # what a stop waits for a moment without requests


class Http2State(Enum):
    """What the connection is doing."""

    OPEN = "it answers requests"
    WARNED = "it still does, and the peer is told not to send more"
    LEAVING = "it answers those that had arrived"
    CLOSING = "the rest is being written; nothing more is read"
    OVER = "nothing: the peer has disconnected"


class Http2Routes:
    """What answers the requests of all connections.

    parse: a request's fields → the Head of one for a hot route. Any other request is
    the application's.
    """

    def __init__(self, connections: Connections, application: AsgiApplication) -> None:
        limits = connections.limits
        self.parse = FieldsParser(connections.parse, limits.header_bytes)
        self.application = application


class Http2Protocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, connections: Connections, routes: Http2Routes) -> None:
        self.connections = connections
        self.engine = Engine(routes.parse.max_bytes)
        self._routes = routes
        self._traffic = Traffic(connections.now)
        self._streams: dict[int, HotStream | BridgedStream] = {}  # not answered yet
        self._left: set[int] = set()  # answered before all of the body had arrived
        self._state = Http2State.OPEN
        self._stopping_since = 0.0
        self._will_flush = False
        self._peer: Peer

    @property
    def is_blocked(self) -> bool:
        """Whether the peer does not read, and the transport's buffer is full."""
        return self._peer.is_blocked

    # --- asyncio's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._join(transport)
        self.engine.start()
        self.will_flush()

    def upgrade(self, transport: asyncio.Transport, request: UpgradeRequest) -> None:
        """Begin with a request of HTTP/1.1 that has asked for it."""
        self._join(transport)
        transport.set_protocol(self)
        try:
            self.engine.upgrade(request.settings, request.is_head)
        except EngineFailed as failure:
            self._fail(failure.code)
            return
        self._open(1, request.fields, not request.body)
        if request.body and (stream := self._streams.get(1)) is not None:
            stream.receive(request.body, True)
        self.will_flush()

    def _join(self, transport: asyncio.BaseTransport) -> None:
        self._peer = Peer(cast(asyncio.Transport, transport))
        self.connections.open.add(self)
        self.connections.count(1)

    def data_received(self, data: bytes) -> None:
        if self._state is Http2State.CLOSING:
            return
        try:
            self._handle(self.engine.receive(data))
        except EngineFailed as failure:
            self._fail(failure.code)
            return
        self.will_flush()  # answers to SETTINGS and PING, and open windows

    def eof_received(self) -> None:
        """Close: the peer could open no window any more."""

    def pause_writing(self) -> None:
        # Else the answers to its PINGs would fill the memory.
        self._peer.is_blocked = True
        self._peer.set_reading(False)

    def resume_writing(self) -> None:
        self._peer.is_blocked = False
        self._peer.set_reading(True)
        self.will_flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._state = Http2State.OVER
        self.connections.open.discard(self)
        self.connections.count(-1)
        self._abandon_all()

    # --- what the peer sends ---

    def _handle(self, events: Any) -> None:
        """Raises EngineFailed where the peer sends too much of something."""
        streams = self._streams
        for event in events:
            kind = type(event)
            if kind is RequestReceived:
                self._open(event.stream_id, event.headers, event.end_stream)
            elif kind is DataReceived:
                stream = streams.get(event.stream_id)
                self._traffic.since = self.connections.now
                if stream is not None:
                    stream.receive(event.data, event.end_stream)
                elif event.data:  # answered before all of it had arrived
                    self.engine.consume(len(event.data), event.stream_id)
            elif kind is StreamClosed:
                if event.stream_id in streams:  # PERF: else it was answered
                    self._closed(event.stream_id)
                self._left.discard(event.stream_id)
            else:
                self._handle_rare(event)

    def _handle_rare(self, event: Event) -> None:
        if isinstance(event, WindowUpdated):
            self._traffic.since = self.connections.now
            if self._traffic.window_updated():
                raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, "WINDOW_UPDATE")
        elif isinstance(event, TrailersReceived):
            stream = self._streams.get(event.stream_id)
            if stream is not None:
                stream.receive(b"", True)
        elif isinstance(event, PingAcknowledged):
            if self._state is Http2State.WARNED:
                self._leave()
        elif isinstance(event, ConnectionClosed):
            self._abandon_all()

    def _open(self, number: int, fields: HeaderFields, is_whole: bool) -> None:
        """Have a request answered, or wait for its body."""
        self._traffic.opened(number)
        self._traffic.since = self.connections.now
        head = self._routes.parse(fields)
        if head is None or (head.query is not None and not is_whole):
            self._bridge(number, fields, is_whole)
            return
        stream = HotStream(self, number, head)
        self._streams[number] = stream
        if is_whole:
            stream.complete(head.query if head.query is not None else b"")

    def _bridge(self, number: int, fields: HeaderFields, is_whole: bool) -> None:
        """Have the application answer a request."""
        limit = self._routes.parse.max_bytes
        if size_of(fields) > limit:
            refusal = self.connections.turn.predictor.refusal("", HeadTooLarge(limit))
            self._answer(number, refusal)
            if not is_whole:
                self._left.add(number)
            return
        stream = BridgedStream(self, number)
        self._streams[number] = stream
        if is_whole:
            stream.receive(b"", True)
        peer = self._peer
        scope = scope_of(fields, peer.tls is not None, peer.addresses)
        stream.call(self._routes.application, scope)

    def _closed(self, number: int) -> None:
        """Drop a request that waits for its answer. Raises EngineFailed for a flood."""
        stream = self._streams.pop(number)
        stream.closed()
        if self._traffic.broken_off(self.connections.now - stream.began):
            raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, "RST_STREAM")

    # --- what the peer is sent ---

    def respond(self, stream: HotStream, reply: Reply) -> None:
        """Send a reply, if the stream still waits for one."""
        if self._streams.pop(stream.number, None) is not None:
            self._traffic.since = self.connections.now
            self._answer(stream.number, reply)

    def leaves_body(self, stream: int) -> None:
        """Stop the peer from sending more of a body, once the answer is sent."""
        self._left.add(stream)

    def ended(self, stream: BridgedStream, is_whole: bool) -> None:
        """Forget a stream: its application has returned."""
        self._traffic.since = self.connections.now
        if self._streams.pop(stream.number, None) is not None:
            if not is_whole:
                self._left.add(stream.number)
            self.will_flush()

    def _answer(self, number: int, reply: Reply) -> None:
        fields = response_fields(reply, self.connections.lines)
        self.engine.respond(number, fields, reply.body)
        self.will_flush()

    def will_flush(self) -> None:
        """Have what the engine has sent at the end of this turn."""
        if not self._will_flush:
            self._will_flush = True
            self.connections.turn.will_flush(self)

    def send(self) -> None:
        """Write what the engine has for the peer, as far as its windows allow."""
        self._will_flush = False
        if self._state in (Http2State.CLOSING, Http2State.OVER):
            return
        waiting = self.engine.unsent()
        self._write()
        if self._left:
            self._reset_left()
        if waiting and (sent := waiting - self.engine.unsent()):
            self._traffic.since = self.connections.now
            self._traffic.sent(sent)
        for stream in self._streams.values():
            stream.flushed()
        if self._state is Http2State.LEAVING and self._is_idle:
            self._close()
            self._peer.close()
        elif self.engine.is_over:
            self._close()
        elif self.connections.is_stopping and self._is_idle:
            self._warn()

    def _write(self) -> None:
        peer = self._peer
        while not peer.is_blocked:
            data = self.engine.data_to_send(_CHUNK_BYTES)
            if data:
                peer.unsent.append(data)
                peer.send()
            if len(data) < _CHUNK_BYTES:
                return

    def _reset_left(self) -> None:
        """Ask for no more of the bodies whose answers are sent."""
        if self._peer.is_blocked:
            return
        for number in list(self._left):
            if not self.engine.unsent(number):
                self._left.discard(number)
                self.engine.reset(number, ErrorCode.NO_ERROR)
        self._write()

    # --- the end ---

    @property
    def _is_idle(self) -> bool:
        return not (self._streams or self._peer.is_blocked or self.engine.unsent())

    def check(self, now: float) -> None:
        """Refuse requests that take too long to arrive; leave if nothing happens."""
        for stream in list(self._streams.values()):
            stream.check(now)
        elapsed = now - self._traffic.since
        is_late = elapsed > self.connections.limits.keepalive_seconds
        if self._state is Http2State.CLOSING:
            if is_late:
                self._peer.abort()  # it does not read the rest
            self._peer.close()
        elif self._state is Http2State.WARNED:
            self._leave()  # it does not answer a PING
        elif is_late and (self._peer.is_blocked or self.engine.unsent()):
            self._peer.abort()  # it opens no window
        elif self.connections.is_stopping:
            self._stopping_since = self._stopping_since or now
            if self._is_idle or now - self._stopping_since > _GAP_SECONDS:
                self._warn()
        elif is_late and self._is_idle:
            self._warn()

    def _warn(self) -> None:
        if self._state is Http2State.OPEN:
            self._state = Http2State.WARNED
            self.engine.warn()
            self.will_flush()

    def _leave(self) -> None:
        self._state = Http2State.LEAVING
        self.engine.refuse_streams()
        self.will_flush()

    def _fail(self, code: int) -> None:
        """Say GOAWAY with an error, and close."""
        self._peer.unsent.append(goaway(self._traffic.last_stream, code))
        self._close()
        self._peer.send()

    def _close(self) -> None:
        """Read nothing more. `check` closes, soon: the peer has to see what was sent.

        The kernel drops that once something arrives at a socket that is closed.
        """
        self._state = Http2State.CLOSING
        self._traffic.since = self.connections.now
        self._abandon_all()

    def _abandon_all(self) -> None:
        streams = list(self._streams.values())
        self._streams.clear()
        for stream in streams:
            stream.closed()


def http2_protocols(
    application: AsgiApplication,
) -> Callable[[Connections], Http2Protocol]:
    """Return what makes the protocol of a connection.

    application: answers every route but the hot ones.
    """
    routes = cache(lambda connections: Http2Routes(connections, application))
    return lambda connections: Http2Protocol(connections, routes(connections))
