"""The hot routes, straight from the socket.

Every connection starts here. A request for `/v1/api/model/ID/eval` (GET, or POST with
a Content-Length) goes to the predictor at the end of the turn of the event loop that
read it, with those of all other connections. Any other request, or anything unusual,
hands the connection over, with the bytes that are not answered yet: HTTP/2 for good to
a protocol of ours (http2/protocol.py), all else to Gunicorn's and so to Falcon, until
the next request for a hot route begins: then a new HotProtocol goes on.

    data_received ─► Reader ─► _begin ─► Turn ─► Predictor ─► reply ─► Turn ─► Peer
                       └► _hand_over

One request at a time: pipelined ones wait in the Reader, so answers keep their order.
The states of a connection:

               a whole request
           ┌──────────────────────► ANSWERING
           │                          │   │
         IDLE ◄──────── reply ────────┘   └─ reply to the last request ──┐
           │                                                             ▼
           ├─ a timeout, a refusal, a stop, the peer's end ──────────► CLOSING
           │                                                             │
           └─ a request for another protocol                            │
                          ▼                                              │
                       WAITING ─── its turn ──► OVER ◄── disconnected ───┘
                                                 ▲
                        disconnected in any other state

What the peer does (half-closed, paused, blocked) is the Peer's state. While the peer is
blocked, an IDLE connection begins no request.

A request for another protocol costs ten times as much as a hit. Those of one turn are
handed over in the next ones, a few in each (server/rounds.py): hits go first.
"""

import asyncio
from enum import Enum
from functools import partial
from time import perf_counter
from typing import Final, cast

from gomlx.errors import GomlxError, InternalError
from gomlx.server.body import BodyParts
from gomlx.server.http.connections import Connections, GoesOn
from gomlx.server.http.head import CLOSE, HEAD_END, Head, HeadParser, ParsesHeads
from gomlx.server.http.ids.field import has_id, with_id
from gomlx.server.http.peer import Inflow, Peer
from gomlx.server.http.reader import NEED_DATA, NOT_OURS, CompleteRequest, Reader
from gomlx.server.http.response import (
    HeadTooLarge,
    ReceiveTimeout,
    TooManyConnections,
    response,
)
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import WaitingRequest
from gomlx.server.recording.heads import RecordedHead

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
# Who was active just now may have sent a request, and gets an answer that closes the
# connection. The time of that is up to a second old.
_ACTIVE_SECONDS = 1.25
_PROBE_SECONDS = 0.05  # for the reset of a peer that has disconnected to arrive


def _is_preface(start: bytes) -> bool:
    """Whether bytes begin as a connection of HTTP/2 does, and as no request does."""
    return len(start) >= 3 and _PREFACE.startswith(start[: len(_PREFACE)])


class ConnectionState(Enum):
    """What a connection is doing."""

    IDLE = "no request is being answered"
    ANSWERING = "one is"
    WAITING = "the next one is for another protocol, which takes over at its turn"
    CLOSING = "the rest of the answers is being written; nothing more is read"
    OVER = "nothing: the peer has disconnected, or another protocol has taken over"


# PERF: a global is looked up faster than a member.
_IDLE: Final = ConnectionState.IDLE
_ANSWERING: Final = ConnectionState.ANSWERING
_WAITING: Final = ConnectionState.WAITING
_RECEIVING: Final = (_IDLE, _ANSWERING, _WAITING)  # what the peer sends is kept
_PAUSED: Final = Inflow.PAUSED
_ENDED: Final = Inflow.ENDED


class HotProtocol(asyncio.Protocol):
    """One connection, and the Requester of one request after the other.

    head: of the request that is being answered.
    """

    head: Head
    _peer: Peer

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._turn = connections.turn
        self._reader = Reader(self._heads_of(connections.parse), connections.limits)
        self._state = _IDLE
        # When the last request was answered, or an incomplete one began.
        self._since = connections.now
        self.text: bytes | str | BodyParts = b""
        self.arrived = 0.0
        self.pending: WaitingRequest | None = None

    @property
    def address(self) -> str:
        """The peer's."""
        return self._peer.address

    @property
    def timeout_seconds(self) -> float:
        """How long the request waits for its answer."""
        return self.head.timeout_seconds

    @property
    def request_id(self) -> str:
        """The id of the request that is being answered: it has none here."""
        return ""

    # --- asyncio's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        connections = self._connections
        # A cast, for uvloop's transports have a class of their own.
        self._peer = Peer(cast(asyncio.Transport, transport))
        self._identify()
        if not connections.places.has_room(connections.join(self), self):
            self._refuse(TooManyConnections())
        elif self._peer.has_agreed_on_http2:
            self._hand_over()

    def take_back(
        self, transport: asyncio.Transport, rest: bytes, is_blocked: bool
    ) -> None:
        """Go on with a connection whose request another protocol has answered.

        rest: what the peer has sent since. is_blocked: the transport's buffer is full.
        """
        self._peer = Peer(transport)
        self._peer.is_blocked = is_blocked
        self._identify()
        self._connections.join(self)
        transport.set_protocol(self)
        if rest:
            self.data_received(rest)

    def go_on(self, peer: Peer, rest: bytes) -> None:
        """Go on for another hot protocol, from a request that it has not answered."""
        self._peer = peer
        self._identify()
        self._connections.join(self)
        peer.set_protocol(self)
        self.data_received(rest)

    def _identify(self) -> None:
        """Parse for who the client is by its certificate, if that matters."""
        parse = self._connections.parse
        if parse.tells_certificates:
            names = self._peer.caller.certificate.valid_names
            self._reader.use(self._heads_of(parse.certified(names)))

    def _heads_of(self, parser: HeadParser) -> ParsesHeads:
        """Return what parses the heads of this connection."""
        return parser.for_connection()

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if self._state is _IDLE and not (reader.buffer or self._peer.is_blocked):
            # PERF: nearly always this is one whole request.
            request = reader.read_one(data)
            if request is not None:
                self._begin(request)
                return
        if self._state in _RECEIVING:
            if not reader.buffer:
                self._since = self._connections.now
            reader.receive(data)
            self._advance()
            if reader.buffer and reader.is_full:
                self._bound_buffer()

    def eof_received(self) -> bool:
        """Answer what the peer has sent; it sends no more."""
        self._peer.inflow = _ENDED
        if self._peer.tls:
            return False  # whatever it returns, asyncio closes a TLS connection
        if self._state is _ANSWERING and not self.head.is_http_1_0:
            self._peer.probe()
            loop = asyncio.get_running_loop()
            loop.call_later(_PROBE_SECONDS, self._abort_if_reset)
        # Else the buffer has a part of a request, whose rest never comes.
        has_requests = self._peer.is_blocked and bool(self._reader.buffer)
        return self._state is _ANSWERING or has_requests

    def pause_writing(self) -> None:
        self._peer.is_blocked = True

    def resume_writing(self) -> None:
        self._peer.is_blocked = False
        self._advance()

    def connection_lost(self, error: Exception | None) -> None:
        was_answering = self._state is _ANSWERING
        self._leave()
        if was_answering:
            self._turn.abandon(self)

    # --- one request after the other ---

    def _advance(self) -> None:
        """Have the next request answered, if it is in the buffer as a whole."""
        reader = self._reader
        peer = self._peer
        if self._state is _IDLE and reader.buffer and not peer.is_blocked:
            event = reader.next_event()
            if isinstance(event, tuple):
                if type(event[0]) is RecordedHead:
                    self._begin_recorded(event[0], event[1])
                else:
                    self._begin(event)
            elif event is NOT_OURS:
                self._state = _WAITING
                rounds = self._connections.successors.rounds
                rounds.call(self.address, self._hand_over)
            elif event is not NEED_DATA:
                self._refuse(event)
        if peer.inflow is _PAUSED:
            self._bound_buffer()

    def _begin(self, request: CompleteRequest) -> None:
        """Have a request answered at the end of this turn."""
        head, body = request
        self.head = head
        self.text = body if head.query is None else head.query
        self._state = _ANSWERING
        self._turn.add(self)

    def _begin_recorded(self, head: RecordedHead, body: bytes | BodyParts) -> None:
        """Have a request answered at the end of this turn, and recorded."""
        self.head = head
        self.text = body if head.query is None else head.query
        self._state = _ANSWERING
        self.arrived = perf_counter()
        self._turn.call_at_end(partial(head.predict, self))

    def reply(self, reply: Reply, request_id: bytes = b"") -> None:
        """Send the answer, with the id of its request, and begin the next one."""
        if self._state is not _ANSWERING:
            return  # the peer has disconnected
        connections = self._connections
        inflow = self._peer.inflow
        head = self.head
        if inflow is _ENDED:
            connections.turn.predictor.count_canceled(head.model)
        self._state = _IDLE
        self._since = connections.now
        self.text = b""
        self.pending = None
        connection = CLOSE if connections.is_draining else head.connection
        lines = connections.lines
        if request_id:  # PERF: no call otherwise
            lines = with_id(lines, request_id)
        answer = response(reply, lines, connection)
        self._turn.will_send(answer, self._peer)
        if connection is CLOSE:
            self._close()
        elif self._reader.buffer:
            self._advance()
        elif inflow is _ENDED:
            self._close()

    def fail(self) -> None:
        """Reply with an internal error, unless the reply is to come."""
        if self._state is _ANSWERING and self.pending is None:
            predictor = self._turn.predictor
            self.reply(predictor.refusal(self.head.model, InternalError()))

    def _refuse(self, error: GomlxError, request_id: bytes = b"") -> None:
        """Reply with the error, and close."""
        connections = self._connections
        reply = connections.turn.predictor.refusal("", error)
        self._since = connections.now
        lines = with_id(connections.lines, request_id)
        answer = response(reply, lines, CLOSE)
        self._turn.will_send(answer, self._peer)
        self._close()

    def _bound_buffer(self) -> None:
        """Stop reading from a peer that sends faster than it reads answers."""
        if self._state in _RECEIVING:
            waits = self._state is not _IDLE or self._peer.is_blocked
            self._peer.set_reading(not (waits and self._reader.is_full))

    # --- the end ---

    def check(self, now: float) -> None:
        """Close the connection if it has been idle, or incomplete, for too long."""
        self._identify()  # a certificate may have expired
        elapsed = now - self._since
        limits = self._connections.limits
        if self._state is _ANSWERING:
            self._peer.abort_if_reset()
        elif self._state is ConnectionState.CLOSING or self._peer.is_blocked:
            if elapsed > limits.keepalive_seconds:
                self._peer.abort()  # it does not read the rest
        elif self._reader.buffer:
            if elapsed > limits.receive_seconds:
                self._refuse(ReceiveTimeout())
        elif elapsed > limits.keepalive_seconds or (
            self._connections.is_stopping and elapsed > _ACTIVE_SECONDS
        ):
            self._close()

    def waits_since(self) -> float | None:
        """When the connection began to wait for its peer, if it does."""
        if self._state in (_IDLE, _WAITING) or (
            self._state is ConnectionState.CLOSING and self._peer.is_blocked
        ):
            return self._since
        return None

    def make_room(self) -> None:
        """Close the connection, which waits for its peer."""
        if self._peer.is_blocked:
            self._peer.abort()
        elif self._reader.buffer:
            self._refuse(TooManyConnections())
        else:
            self._close()

    def _abort_if_reset(self) -> None:
        if self._state is not ConnectionState.OVER:
            self._peer.abort_if_reset()

    def _close(self) -> None:
        """Close once all is written; `check` bounds how long that may take."""
        self._state = ConnectionState.CLOSING
        self._reader.clear()
        self._peer.close()

    def _hand_over(self) -> None:
        """Give the connection, from the unanswered request on, to another protocol."""
        if self._state in (ConnectionState.CLOSING, ConnectionState.OVER):
            return  # it has not waited for its turn
        rest = self._reader.rest
        limit = self._connections.limits.header_bytes
        if len(rest) > limit and rest.find(HEAD_END, 0, limit) < 0:
            self._refuse(HeadTooLarge(limit))
            return
        self._peer.send()
        self._leave()
        identifying = self._identifying(rest)
        if identifying is not None:
            identifying.go_on(self._peer, rest)
            return
        protocol = self._successor(rest)
        self._peer.hand_over(protocol)
        if rest:
            protocol.data_received(rest)

    def _identifying(self, rest: bytes) -> GoesOn | None:
        """Return what goes on from a request with an id; None: it has none."""
        identifying = self._connections.successors.identifying
        if identifying is None or not has_id(rest):
            return None
        return identifying(self._connections)

    def _successor(self, rest: bytes) -> asyncio.Protocol:
        successors = self._connections.successors
        if successors.http2 and (
            self._peer.has_agreed_on_http2
            or (
                _is_preface(rest)
                and not self._peer.tls
                and successors.may_use_h2c(self._peer.addresses["client"])
            )
        ):
            return successors.http2(self._connections)
        return successors.gunicorn(self._connections)

    def _leave(self) -> None:
        self._state = ConnectionState.OVER
        self._reader.clear()
        self._peer.discard_unsent()
        self._connections.leave(self)
