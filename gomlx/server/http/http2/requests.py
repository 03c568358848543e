"""The requests under way on one connection of HTTP/2.

    events ─► a request for a hot route ─► HotStream ─► Turn ─► …
       │      any other ─► BridgedStream ─► its turn ─► the ASGI application
       └ the answers of both ─► the engine

Each stream ends on its own: answered, or reset by the peer, which abandons its request.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import takewhile
from typing import Any, Protocol

from gomlx.server.access.caller import with_caller
from gomlx.server.http.connections import Connections
from gomlx.server.http.head import Head
from gomlx.server.http.http2.bridge import AsgiApplication, BridgedStream, scope_of
from gomlx.server.http.http2.engine import (
    ConnectionClosed,
    DataReceived,
    Engine,
    EngineFailed,
    ErrorCode,
    Event,
    Header,
    PingAcknowledged,
    RequestReceived,
    StreamClosed,
    TrailersReceived,
    WindowUpdated,
)
from gomlx.server.http.http2.fields import (
    FieldsParser,
    HeaderFields,
    IdentifiedHead,
    MakingFieldsParser,
    response_fields,
    size_of,
)
from gomlx.server.http.http2.stream import (
    HotStream,
    IdentifiedStream,
    RecordedStream,
)
from gomlx.server.http.http2.traffic import Traffic
from gomlx.server.http.peer import Peer
from gomlx.server.http.response import HeadTooLarge
from gomlx.server.predict.reply import Reply
from gomlx.server.recording.heads import RecordedHead, Recording
from gomlx.server.rounds import PeerCall, Rounds

_READING_CALLS = 64
_READING_SECONDS = 0.001


class Http2Routes:
    """What answers the requests of all connections.

    parse: a request's fields → the Head of one for a hot route. Any other request is
    the application's. requests: makes the requests of one connection. reading: when
    connections read much that has come at once. rounds: when the application's requests
    begin, and are cancelled.
    """

    def __init__(
        self,
        connections: Connections,
        application: AsgiApplication,
        requests: "MakeRequests",
    ) -> None:
        ids = connections.successors.ids
        kind = MakingFieldsParser if ids and ids.makes else FieldsParser
        self.parse = kind(connections.parse, connections.limits.header_bytes, ids)
        self.application = application
        self.requests = requests
        self.reading = Rounds(_READING_CALLS, _READING_SECONDS)
        self.rounds = Rounds()


MakeRequests = Callable[["RequestsOwner", Http2Routes], "Requests"]


class RequestsOwner(Protocol):
    """The connection of the requests."""

    connections: Connections
    engine: Engine
    peer: Peer

    def will_flush(self) -> None:
        """Have what the engine has sent at the end of this turn."""

    def warning_was_read(self) -> None:
        """Note that the peer knows that the connection will end."""


class Requests:
    """The streams of one connection, by number, and how much they cost.

    parse: that of the routes, or of who the client is by its certificate. streams: not
    answered yet. unread: answered before all of the body had arrived.
    reading: when connections read much that has come at once.
    """

    def __init__(self, owner: RequestsOwner, routes: Http2Routes) -> None:
        self.connections = owner.connections
        self.engine = owner.engine
        self.traffic = Traffic(owner.connections.now)
        self.parse = routes.parse
        self.streams: dict[int, HotStream | BridgedStream] = {}
        self.unread: set[int] = set()
        self.reading = routes.reading
        self.will_flush = owner.will_flush  # PERF: no second call for an answer
        self._owner = owner
        self._routes = routes

    def identify(self, names: frozenset[str]) -> None:
        """Parse further requests for a client whose certificate has names."""
        self.parse = self._routes.parse.certified(names)

    @property
    def is_blocked(self) -> bool:
        """Whether the peer does not read, and the transport's buffer is full."""
        return self._owner.peer.is_blocked

    @property
    def is_answering(self) -> bool:
        """Whether a request has arrived as a whole, and is not answered yet."""
        return any(stream.is_complete for stream in self.streams.values())

    # --- what the peer sends ---

    def handle(self, events: Any) -> None:
        """Raises EngineFailed where the peer sends too much of something."""
        streams = self.streams
        for event in events:
            kind = type(event)
            if kind is RequestReceived:
                self.open(event.stream_id, event.headers, event.end_stream)
            elif kind is DataReceived:
                stream = streams.get(event.stream_id)
                self.traffic.since = self.connections.now
                if stream is not None:
                    stream.receive(event.data, event.end_stream)
                elif event.data:  # answered before all of it had arrived
                    self.engine.consume(len(event.data), event.stream_id)
            elif kind is StreamClosed:
                if event.stream_id in streams:  # PERF: else it was answered
                    self._closed(event.stream_id)
                self.unread.discard(event.stream_id)
            else:
                self._handle_rare(event)

    def _handle_rare(self, event: Event) -> None:
        if isinstance(event, WindowUpdated):
            self.traffic.since = self.connections.now
            if self.traffic.window_updated():
                raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, "WINDOW_UPDATE")
            return
        if self.traffic.is_rare(self.connections.now):
            raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, "too many control frames")
        if isinstance(event, TrailersReceived):
            stream = self.streams.get(event.stream_id)
            if stream is not None:
                stream.receive(b"", True)
        elif isinstance(event, PingAcknowledged):
            self._owner.warning_was_read()
        elif isinstance(event, ConnectionClosed):
            self.abandon_all()

    def open(self, number: int, fields: HeaderFields, is_whole: bool) -> None:
        """Have a request answered, or wait for its body."""
        self.traffic.opened(number)
        self.traffic.since = self.connections.now
        head = self.parse(fields)
        if head is None or (head.query is not None and not is_whole):
            self._bridge(number, fields, is_whole)
            return
        recording = self.connections.parse.recording
        if recording.is_by_chance and recording.is_next():
            stream = self._chosen(recording, number, head)
        elif type(head) is Head:
            stream = HotStream(self, number, head)
        else:
            stream = self._special(number, head)
        self.streams[number] = stream
        if is_whole:
            stream.complete(head.query if head.query is not None else b"")

    def _chosen(
        self, recording: Recording, number: int, head: Head | IdentifiedHead
    ) -> HotStream:
        """Return the stream of a request that chance has recorded."""
        if isinstance(head, IdentifiedHead):
            return self._special(
                number, head._replace(head=recording.taken(head.head, "2"))
            )
        return self._special(number, recording.taken(head, "2"))

    def _special(self, number: int, found: Head | IdentifiedHead) -> HotStream:
        """Return the stream of a request that has an id, or is recorded, or both."""
        request_id = b""
        head = found
        if isinstance(head, IdentifiedHead):
            head, request_id = head
        kind = RecordedStream if type(head) is RecordedHead else IdentifiedStream
        return kind(self, number, head, request_id)

    def _bridge(self, number: int, fields: HeaderFields, is_whole: bool) -> None:
        """Have the application answer a request."""
        limit = self.parse.max_bytes
        if size_of(fields) > limit:
            refusal = self.connections.turn.predictor.refusal("", HeadTooLarge(limit))
            self._answer(number, refusal)
            if not is_whole:
                self.unread.add(number)
            return
        stream = BridgedStream(self, number)
        self.streams[number] = stream
        if is_whole:
            stream.receive(b"", True)
        self.at_its_turn(partial(self._begin, stream, fields))

    def at_its_turn(self, call: PeerCall) -> None:
        """Call by turns with whatever else is not for the hot routes."""
        self._routes.rounds.call(self._owner.peer.address, call)

    def _begin(self, stream: BridgedStream, fields: HeaderFields) -> None:
        """Have the application answer a request, unless its stream has ended."""
        if stream.is_over:
            return
        peer = self._owner.peer
        scope = scope_of(fields, peer.tls is not None, peer.addresses)
        called = with_caller(scope, peer.caller)
        stream.call(self._routes.application, called)

    def _closed(self, number: int) -> None:
        """Drop a request that waits for its answer. Raises EngineFailed for a flood."""
        stream = self.streams.pop(number)
        stream.closed()
        if self.traffic.broken_off(self.connections.now - stream.began):
            raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, "RST_STREAM")

    # --- what the peer is sent ---

    def respond(
        self, stream: HotStream, reply: Reply, more: Sequence[Header] = ()
    ) -> None:
        """Send a reply, if the stream still waits for one. more: fields of its head."""
        if self.streams.pop(stream.number, None) is not None:
            self.traffic.since = self.connections.now
            self._answer(stream.number, reply, more)

    def leaves_body(self, stream: int) -> None:
        """Stop the peer from sending more of a body, once the answer is sent."""
        self.unread.add(stream)

    def ended(self, stream: BridgedStream, is_whole: bool) -> None:
        """Forget a stream: its application has returned."""
        self.traffic.since = self.connections.now
        if self.streams.pop(stream.number, None) is not None:
            if not is_whole:
                self.unread.add(stream.number)
            self.will_flush()

    def _answer(self, number: int, reply: Reply, more: Sequence[Header] = ()) -> None:
        fields = response_fields(reply, self.connections.lines)
        if more:
            fields += more
        self.engine.respond(number, fields, reply.body)
        self.will_flush()

    def reset_unread(self) -> None:
        """Ask for no more of the bodies whose answers are sent."""
        for number in list(self.unread):
            if not self.engine.unsent(number):
                self.unread.discard(number)
                self.engine.reset(number, ErrorCode.NO_ERROR)

    def refuse_late(self, now: float) -> None:
        """Refuse requests that take too long to arrive."""
        begun = now - self.connections.limits.receive_seconds
        # They have begun in their order.
        streams = self.streams.values()
        for stream in list(takewhile(lambda stream: stream.began < begun, streams)):
            stream.check(now)

    def wake(self) -> None:
        """Have streams that wait for the peer look for room again."""
        for stream in self.streams.values():
            stream.flushed()

    def abandon_all(self) -> None:
        """Drop every request: no caller waits for the answers."""
        streams = list(self.streams.values())
        self.streams.clear()
        for stream in streams:
            stream.closed()
