"""One connection of HTTP/2: every route, the hot ones with those of HTTP/1.1.

    data_received ─► Engine ─► Requests ─► Engine ─► the end of the turn ─► the Peer

It ends so that no request is lost:

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
from time import perf_counter
from typing import Final, cast

from gomlx.server.http.connections import Connections
from gomlx.server.http.http2.bridge import AsgiApplication
from gomlx.server.http.http2.engine import (
    Engine,
    EngineFailed,
    ErrorCode,
    goaway,
)
from gomlx.server.http.http2.requests import Http2Routes, MakeRequests, Requests
from gomlx.server.http.http2.upgrade import UpgradeRequest
from gomlx.server.http.peer import Peer

_CHUNK_BYTES = 1 << 18  # what is written at once
# What is read in a turn. The loop brings 256 KiB at a time, and up to 8 MiB before it
# looks at another connection: 32 KiB of large frames take 0.03 ms, of small ones 4 ms.
_SHARE_SECONDS = 0.0003
_SLICE_BYTES = 1 << 15
_FIRST_SLICE_BYTES = 1 << 12
_SMALL_BYTES = 1 << 10  # is read at once, whatever others have sent in this turn
_NOTHING = memoryview(b"")
_GAP_SECONDS = 5  # what a stop waits for a moment without requests


class Http2State(Enum):
    """What the connection is doing."""

    OPEN = "it answers requests"
    WARNED = "it still does, and the peer has notice not to send more"
    LEAVING = "it answers those that had arrived"
    CLOSING = "the rest is being written; nothing more is read"
    OVER = "nothing: the peer has disconnected"


_CLOSING: Final = Http2State.CLOSING  # PERF: a global is looked up faster


class Http2Protocol(asyncio.Protocol):
    """One connection. peer: once it is made."""

    peer: Peer

    def __init__(self, connections: Connections, routes: Http2Routes) -> None:
        self.connections = connections
        self.engine = Engine(routes.parse.max_bytes)
        self._requests = routes.requests(self, routes)
        self._state = Http2State.OPEN
        self._stopping_since = 0.0
        self._will_flush = False
        self._rest = _NOTHING  # that is read in the next turn
        self._slice_bytes = _FIRST_SLICE_BYTES
        self._has_turn = False  # it waits for one, to read the rest

    @property
    def address(self) -> str:
        """The peer's."""
        return self.peer.address

    # --- asyncio's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._join(transport)
        self.engine.start()
        self.will_flush()

    def upgrade(self, transport: asyncio.Transport, request: UpgradeRequest) -> None:
        """Begin with a request of HTTP/1.1 that asks for it."""
        self._join(transport)
        transport.set_protocol(self)
        try:
            self.engine.upgrade(request.settings, request.is_head)
        except EngineFailed as failure:
            self._fail(failure.code)
            return
        requests = self._requests
        requests.open(1, request.fields, not request.body)
        if request.body and (stream := requests.streams.get(1)) is not None:
            stream.receive(request.body, True)
        self.will_flush()

    def _join(self, transport: asyncio.BaseTransport) -> None:
        self.peer = Peer(cast(asyncio.Transport, transport))
        self._identify()
        self.connections.join(self)

    def _identify(self) -> None:
        """Parse for who the client is by its certificate, if that matters."""
        if self.connections.parse.tells_certificates:
            self._requests.identify(self.peer.caller.certificate.valid_names)

    def data_received(self, data: bytes | memoryview) -> None:
        if self._state is _CLOSING:
            # A flood would be read until the end; the peer's own end is to be seen.
            self.peer.set_reading(len(data) < _SLICE_BYTES)
            return
        if self._rest or len(data) > _SMALL_BYTES:
            self._rest = memoryview(b"".join((self._rest, data)))
            self._read_by_turns()
            self._read_on()
            return
        try:
            self._requests.handle(self.engine.receive(data))
        except EngineFailed as failure:
            self._fail(failure.code)
            return
        self.will_flush()  # answers to SETTINGS and PING, and open windows

    def _read_by_turns(self) -> None:
        """Read a part of the rest now or soon, by turns with other connections."""
        if self._rest and not self._has_turn:
            self._has_turn = True
            self._requests.reading.call(self.address, self._read_share)

    def _read_share(self) -> None:
        """Read as much as one turn has time for, unless the peer does not read."""
        self._has_turn = False
        if not self._rest or self.peer.is_blocked:
            return
        ends = perf_counter() + _SHARE_SECONDS
        try:
            while self._rest and perf_counter() < ends:
                self._read_slice(self._rest[: self._slice_bytes])
        except EngineFailed as failure:
            self._fail(failure.code)
            return
        self.will_flush()
        self._read_by_turns()
        self._read_on()

    def _read_slice(self, data: memoryview) -> None:
        """Read the first part of the rest. Raises EngineFailed."""
        traffic = self._requests.traffic
        is_backlog = len(self._rest) > _SLICE_BYTES
        self._rest = self._rest[len(data) :]
        started = perf_counter()
        events = self.engine.receive(data)
        if is_backlog and traffic.noise.is_flood(len(data), len(events)):
            raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, "meaningless frames")
        self._requests.handle(events)
        seconds = perf_counter() - started
        if traffic.kept_loop(seconds, events, self.connections.now):
            raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, "too much of the loop")
        is_slow = seconds > _SHARE_SECONDS / 2
        size = self._slice_bytes // 2 if is_slow else self._slice_bytes * 2
        self._slice_bytes = min(max(size, _SMALL_BYTES), _SLICE_BYTES)

    def _read_on(self) -> None:
        """Read from the peer, unless something has to be done before."""
        if self._state is not Http2State.OVER:
            self.peer.set_reading(not (self._rest or self.peer.is_blocked))

    def eof_received(self) -> None:
        """Close: the peer could open no window any more."""

    def pause_writing(self) -> None:
        # Else the answers to its PINGs would fill the memory.
        self.peer.is_blocked = True
        self._read_on()

    def resume_writing(self) -> None:
        self.peer.is_blocked = False
        self._requests.wake()
        self._read_by_turns()
        self._read_on()
        self.will_flush()

    def connection_lost(self, error: Exception | None) -> None:
        self._state = Http2State.OVER
        self._rest = _NOTHING
        self.connections.leave(self)
        self._requests.abandon_all()
        del self._requests  # they know the connection: no cycle is left

    # --- the requests' calls, and what the peer is sent ---

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
        requests = self._requests
        waiting = self.engine.unsent()
        self._write()
        if requests.unread and not self.peer.is_blocked:
            requests.reset_unread()
            self._write()
        if waiting and (sent := waiting - self.engine.unsent()):
            requests.traffic.since = self.connections.now
            requests.traffic.sent(sent)
            requests.wake()
        if self._state is Http2State.LEAVING and self._is_idle:
            self._close()
            self.peer.close()
        elif self.engine.is_over:
            self._close()
        elif self.connections.is_draining and self._is_idle:
            self._warn()

    def _write(self) -> None:
        peer = self.peer
        while not peer.is_blocked:
            data = self.engine.data_to_send(_CHUNK_BYTES)
            if data:
                self.connections.turn.carried.sent_bytes += len(data)
                peer.unsent.append(data)
                peer.send()
            if len(data) < _CHUNK_BYTES:
                return

    # --- the end ---

    @property
    def _is_idle(self) -> bool:
        return not (
            self._requests.streams or self.peer.is_blocked or self.engine.unsent()
        )

    def check(self, now: float) -> None:
        """Refuse requests that take too long to arrive; leave if nothing happens."""
        if self._state is Http2State.OVER:
            return
        self._identify()  # it may have expired
        self._requests.refuse_late(now)
        elapsed = now - self._requests.traffic.since
        is_late = elapsed > self.connections.limits.keepalive_seconds
        if self._state is Http2State.CLOSING:
            if is_late:
                self.peer.abort()  # it does not read the rest
            self.peer.close()
        elif self._state is Http2State.WARNED:
            self._leave()  # it does not answer a PING
        elif is_late and (self.peer.is_blocked or self.engine.unsent()):
            self.peer.abort()  # it opens no window
        elif self.connections.is_draining:
            self._stopping_since = self._stopping_since or now
            if self._is_idle or now - self._stopping_since > _GAP_SECONDS:
                self._warn()
        elif is_late and self._is_idle:
            self._warn()

    def waits_since(self) -> float | None:
        """When the connection began to wait for its peer, if it does."""
        if self._state in (_CLOSING, Http2State.OVER):
            return None
        requests = self._requests
        return None if requests.is_answering else requests.traffic.since

    def make_room(self) -> None:
        """Close the connection, which waits for its peer: no further one is lost."""
        self._fail(ErrorCode.NO_ERROR)
        self.peer.close()

    def warning_was_read(self) -> None:
        """Leave: the peer knows that the connection will end."""
        if self._state is Http2State.WARNED:
            self._leave()

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
        self.peer.unsent.append(goaway(self._requests.traffic.last_stream, code))
        self._close()
        self.peer.send()

    def _close(self) -> None:
        """Read nothing more. `check` closes, soon: the peer has to see what was sent.

        The kernel drops that once something arrives at a socket that is closed.
        """
        self._state = _CLOSING
        self._rest = _NOTHING
        self._read_on()
        self._requests.traffic.since = self.connections.now
        self._requests.abandon_all()


def http2_protocols(
    application: AsgiApplication, requests: MakeRequests = Requests
) -> Callable[[Connections], Http2Protocol]:
    """Return what makes the protocol of a connection.

    application: answers every route but the hot ones.
    """
    routes = cache(lambda connections: Http2Routes(connections, application, requests))
    return lambda connections: Http2Protocol(connections, routes(connections))
