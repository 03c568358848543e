"""Connections that the hot protocol has handed to Gunicorn, and that come back."""

import time
from functools import partial
from typing import Any

from gunicorn.http2 import negotiation
from gunicorn.workers.gasgi import ASGIWorker

from gomlx.server.http.connections import Connections
from gomlx.server.http.http2.upgrade import UpgradeRequest, fields_of, settings_of
from gomlx.server.http.idle import WatchedConnection
from gomlx.server.http.limits import HttpLimits
from gomlx.server.rounds import PeerCall

_GOAWAY_SECONDS = 2  # for HTTP/2 to close an idle connection itself
_AHEAD_BYTES = 1 << 18  # that wait for their turn, until no more is read


class PassingConnection(WatchedConnection):
    """One that goes on by a protocol of ours when a request for that one comes.

    That is the hot protocol once a request for a hot route begins, behind an answer;
    and HTTP/2 where a request asks for it and its library is there. connections: of its
    listener, on protocols of ours.

    What it receives, and its end, wait for their turn among all that were handed over.
    """

    transport: Any
    _is_between = False  # an answer and the next request, of which nothing has come

    def __init__(
        self, worker: ASGIWorker, watched: "HandedOver", connections: Connections
    ) -> None:
        super().__init__(worker, watched, connections.limits)
        self._unread: list[bytes] = []  # received; its turn will come
        self._has_turn = True  # as it has taken over
        self.connections = connections
        self._application = connections.successors.application

    @property
    def is_draining(self) -> bool:
        return self.connections.is_draining

    @property
    def is_idle(self) -> bool:
        return super().is_idle and not self._unread

    def data_received(self, data: bytes) -> None:
        unread = self._unread
        unread.append(data)
        if self._has_turn:
            self._has_turn = False
            self._read()
        elif len(unread) == 1:
            self._at_its_turn(self._read)
        elif sum(map(len, unread)) > _AHEAD_BYTES:
            self._pause_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self._unread.clear()  # nobody waits for an answer
        self._at_its_turn(partial(super().connection_lost, error))

    def _at_its_turn(self, call: PeerCall) -> None:
        self.connections.successors.rounds.call(self.address, call)

    def _read(self) -> None:
        """Read what has been received up to now."""
        data = self._take_unread()
        if not data:
            return
        is_between = self._is_between and self._awaiting_request
        self._is_between = False
        if is_between and self.connections.is_hot(data, self._names):
            self._resume_reading()
            self._pass_on(data)
            return
        super().data_received(data)
        if len(data) > _AHEAD_BYTES:
            self._maybe_resume_reading()

    def _take_unread(self) -> bytes:
        unread = b"".join(self._unread)
        self._unread.clear()
        return unread

    async def _serve_http_request(self, request: Any, *addresses: Any) -> bool:
        goes_on = await super()._serve_http_request(request, *addresses)
        if not goes_on or not self._is_at_end():
            return goes_on
        rest = self._callback_parser.remaining()
        if not rest:
            self._is_between = True
            return True
        self._task = None  # it ends by itself
        self._resume_reading()
        self._pass_on(rest + self._take_unread())
        return False

    def _is_at_end(self) -> bool:
        """Whether the next request begins where this one and its answer end."""
        receiver = self._body_receiver
        return not (
            self.transport.is_closing()
            or self._finishing_calls
            or getattr(self._callback_parser, "remaining_truncated", False)
            or (receiver is not None and not receiver._complete)
        )

    @property
    def _names(self) -> frozenset[str]:
        return self.caller.certificate.valid_names

    def _pass_on(self, rest: bytes) -> None:
        """Have the hot protocol go on, from bytes that have come."""
        is_blocked = self._flow_control.write_paused
        transport = self._give_up_transport()
        protocol = self.worker.service.hot_protocol(self.connections)
        protocol.take_back(transport, rest, is_blocked)

    async def _handle_h2c_upgrade(self, request: Any) -> None:
        http2 = self.connections.successors.http2
        if http2 is None:
            await super()._handle_h2c_upgrade(request)
            return
        target = request.raw_path
        if request.query:
            target += b"?" + request.query.encode("latin-1")
        upgrade = UpgradeRequest(
            settings_of(self._h2c_upgrade_settings),
            fields_of(request.method, target, request.headers_bytes),
            bytes(self._h2c_upgrade_body),
        )
        received = bytes(self.reader._buffer) + self._take_unread()
        self._task = None  # it ends by itself
        transport = self._give_up_transport()
        transport.write(negotiation.UPGRADE_101)
        protocol: Any = http2(self.connections)
        protocol.upgrade(transport, upgrade)
        if received:
            protocol.data_received(received)

    def _give_up_transport(self) -> Any:
        """End as if the peer had disconnected, and return the open transport."""
        transport = self.transport
        self.transport = None
        super().connection_lost(None)
        return transport


class HandedOver:
    """The connections of one worker that the hot protocol has handed to Gunicorn.

    limits: of each of them.
    """

    def __init__(self, worker: ASGIWorker, limits: HttpLimits) -> None:
        self._worker = worker
        self._limits = limits
        self._open: set[PassingConnection] = set()

    def protocol(self, connections: Connections) -> WatchedConnection:
        """Return the protocol for another connection of a listener."""
        return PassingConnection(self._worker, self, connections)

    def change_limits(self, limits: HttpLimits) -> None:
        """Have other limits for connections from now on."""
        self._limits = limits

    def add(self, connection: Any) -> None:
        """Note a connection, which Gunicorn counts itself."""
        self._open.add(connection)
        connection.connections.places.enter(connection)

    def discard(self, connection: Any) -> None:
        """Forget a connection that has ended."""
        self._open.discard(connection)
        connection.connections.places.leave(connection)

    def check(self) -> None:
        """Close what is idle for too long; HTTP/2 says GOAWAY first."""
        now = time.monotonic()
        idle_seconds = self._limits.keepalive_seconds + _GOAWAY_SECONDS
        for connection in list(self._open):
            if connection.is_idle and not self._worker.alive:
                connection.close()
            else:
                connection.check(now, idle_seconds)
