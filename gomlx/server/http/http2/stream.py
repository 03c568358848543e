"""One request for a hot route, over HTTP/2: a stream."""

from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Protocol

from gomlx.errors import GomlxError, InternalError, TooLarge
from gomlx.server.body import BodyParts, TooManyBodies
from gomlx.server.http.connections import Connections
from gomlx.server.http.head import Head
from gomlx.server.http.http2.engine import Engine, Header
from gomlx.server.http.ids.field import REQUEST_ID
from gomlx.server.http.response import ReceiveTimeout
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import WaitingRequest
from gomlx.server.recording.heads import RecordedHead


class StreamOwner(Protocol):
    """The connection of a stream."""

    connections: Connections
    engine: Engine

    def respond(
        self, stream: "HotStream", reply: Reply, more: Sequence[Header] = ()
    ) -> None:
        """Send a reply, if the stream still waits for one. more: fields of its head."""

    def leaves_body(self, stream: int) -> None:
        """Stop the peer from sending more of a body, once the answer is sent."""


class HotStream:
    """A Requester, once its request has arrived as a whole.

    began: when, by the clock of the connections. head: of the request.
    """

    __slots__ = (
        "_body",
        "_owner",
        "arrived",
        "began",
        "head",
        "is_complete",
        "number",
        "pending",
        "text",
    )

    def __init__(self, owner: StreamOwner, number: int, head: Head) -> None:
        self._owner = owner
        self._body: BodyParts | None = None  # once it comes in more than one part
        self.number = number
        self.head = head
        self.began = owner.connections.now
        self.text: bytes | str | BodyParts = b""
        self.arrived = 0.0
        self.pending: WaitingRequest | None = None
        self.is_complete = False

    @property
    def timeout_seconds(self) -> float:
        """How long the request waits for its answer."""
        return self.head.timeout_seconds

    @property
    def request_id(self) -> str:
        """The id of the request: it has none here."""
        return ""

    def complete(self, text: bytes | str | BodyParts) -> None:
        """Have the request answered at the end of this turn."""
        self.text = text
        self.is_complete = True
        self._owner.connections.turn.add(self)

    def receive(self, data: bytes, is_last: bool) -> None:
        """Receive a part of the body."""
        size = len(data)
        if size:
            self._owner.engine.consume(size, self.number)
        # PERF: as nearly always. A length that was announced is within the limit.
        if is_last and size <= self.head.length and self._body is None:
            self.complete(data)
            return
        try:
            self._receive_part(data, is_last)
        except (TooLarge, TooManyBodies) as error:
            self._refuse(error)

    def _receive_part(self, data: bytes, is_last: bool) -> None:
        """Raises TooLarge, TooManyBodies."""
        connections = self._owner.connections
        body = self._body
        if body is None:
            self._body = body = BodyParts(connections.limits.bodies)
        body.add(data)
        limit = connections.limits.body_bytes
        if len(body) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
        if is_last:
            self._body = None
            self.complete(body.text())

    def reply(self, reply: Reply) -> None:
        """Send the answer."""
        self.pending = None  # it knows this stream: no cycle is left
        self._owner.respond(self, reply)

    def fail(self) -> None:
        """Reply with an internal error, unless the reply is to come."""
        if self.pending is None:
            turn = self._owner.connections.turn
            self.reply(turn.predictor.refusal(self.head.model, InternalError()))

    def closed(self) -> None:
        """Drop the request: the peer has reset the stream, or has disconnected."""
        if self.is_complete:
            self._owner.connections.turn.abandon(self)
            self.pending = None

    def flushed(self) -> None:
        """Nothing waits for what was sent."""

    def check(self, now: float) -> None:
        """Refuse a request that takes too long to arrive."""
        seconds = self._owner.connections.limits.receive_seconds
        if not self.is_complete and now - self.began > seconds:
            self._refuse(ReceiveTimeout())

    def _refuse(self, error: GomlxError) -> None:
        """Reply with an error before the request has arrived."""
        predictor = self._owner.connections.turn.predictor
        self._body = None
        self.reply(predictor.refusal(self.head.model, error))
        self._owner.leaves_body(self.number)


class IdentifiedStream(HotStream):
    """A HotStream whose request has an id; b"" if it has none all the same."""

    __slots__ = ("_request_id",)

    def __init__(
        self, owner: StreamOwner, number: int, head: Head, request_id: bytes
    ) -> None:
        super().__init__(owner, number, head)
        self._request_id = request_id

    @property
    def request_id(self) -> str:
        """The id of the request."""
        return self._request_id.decode()

    def reply(self, reply: Reply) -> None:
        """Send the answer, which has the id."""
        request_id = self._request_id
        more = ((REQUEST_ID, request_id),) if request_id else ()
        self._owner.respond(self, reply, more)


class RecordedStream(IdentifiedStream):
    """A HotStream whose request is recorded."""

    __slots__ = ()

    head: RecordedHead

    def complete(self, text: bytes | str | BodyParts) -> None:
        """Have the request answered at the end of this turn, and recorded."""
        self.text = text
        self.is_complete = True
        self.arrived = perf_counter()
        self._owner.connections.turn.call_at_end(partial(self.head.predict, self))
