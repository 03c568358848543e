"""The hot routes, straight from the socket.

Every connection starts here. A request for `/v1/api/model/ID/eval` (GET, or POST with
a Content-Length) is put to the predictor at the end of the turn of the event loop that
read it, with those of all other connections. Any other request, or anything unusual,
hands the connection for good to Gunicorn's ASGI protocol and so to Falcon, with the
bytes that were not answered yet.

    data_received ─► _advance ─► _ask ─► Connections ─► predictor ─► reply ─► _advance …
                        └► _hand_over

One request at a time: pipelined ones wait in the buffer, so answers keep their order.
"""

import asyncio
import socket
import ssl
from typing import cast

from gomlx.errors import GomlxError, InternalError
from gomlx.server.http.connections import Connections
from gomlx.server.http.head import KEPT_BYTES, Head, may_be_hot
from gomlx.server.http.response import (
    CONTINUE,
    HeadTooLarge,
    ReceiveTimeout,
    TooManyConnections,
    response,
)
from gomlx.server.predict.request import PendingRequest, Reply

_END = b"\r\n\r\n"  # of a head
_PROBE_SECONDS = 0.05  # for a peer that has gone to say so
_TCP_CLOSE = 7  # Linux' state of a connection that its peer has reset
_LARGE_BYTES = 1 << 14  # an answer that is sent at once


class HotProtocol(asyncio.Protocol):
    """One connection."""

    def __init__(self, connections: Connections) -> None:
        self._connections, self._limits = connections, connections.limits
        self._short_bytes = min(KEPT_BYTES, self._limits.header_bytes)  # of a head
        self._transport: asyncio.Transport | None = None
        self._answers: list[bytes] = []  # to be sent
        self._buffer = b""
        self._at = 0  # what is before it in the buffer has been answered
        self._since = connections.now  # of the last answer, or of a part of a request
        self._is_busy = False  # an answer is owed
        self._is_slow = False  # the peer does not read what was written
        self._is_paused = False  # reading from the peer
        self._is_closing = False
        self._is_ended = False  # the peer's side is
        self._head: Head | None = None  # of the request whose body is to come
        self._start = 0  # of that body
        self._keeps_alive = True
        # What is asked, an Asker's:
        self.model = ""
        self.text: bytes | str = b""
        self.arrived = self.seconds = 0.0
        self.pending: PendingRequest | None = None

    # --- asyncio's calls ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class
        self._connections.open.add(self)
        if self._connections.count(1) > self._limits.connections:
            self._refuse(TooManyConnections("too many connections"))
        elif (tls := _tls(transport)) and tls.selected_alpn_protocol() == "h2":
            self._hand_over()

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        if not (self._buffer or self._is_busy or self._is_slow):
            # PERF: nearly always this is one whole request.
            end = data.find(_END) + 4
            if 4 <= end <= self._short_bytes:
                head = self._connections.parse.short(data[:end])
                if head is not None and len(data) == end + head.length:
                    self._ask(head, data[end:])
                    return
        if self._buffer:
            self._buffer = self._buffer[self._at :] + data
            self._start -= self._at
            self._at = 0
        else:
            self._since = self._connections.now
            self._buffer = data
        self._advance()

    def eof_received(self) -> bool:
        """The peer sends no more; what it has sent is still answered."""
        self._is_ended = True
        if self._transport and _tls(self._transport):
            return False  # but not here: asyncio closes a TLS connection in any case
        if self._is_busy and self._transport is not None:
            # Has it shut down its side, or gone? One that has gone answers what is
            # written with a reset.
            self._answers.append(CONTINUE)
            self.send()
            loop = asyncio.get_running_loop()
            loop.call_later(_PROBE_SECONDS, self._abort_if_gone)
        return self._is_busy or self._has_more()

    def pause_writing(self) -> None:
        self._is_slow = True

    def resume_writing(self) -> None:
        self._is_slow = False
        self._advance()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_ended = True
        self._leave()
        if self._is_busy:
            self._connections.leave(self)

    # --- one request after the other ---

    def check(self, now: float) -> None:
        """Close the connection if it has been idle, or incomplete, for too long."""
        if self._transport is None:
            return
        if self._is_busy:
            self._abort_if_gone()
            return
        waited, limits = now - self._since, self._limits
        if self._is_closing or self._is_slow:
            if waited > limits.keepalive_seconds:
                self._transport.abort()  # it will not read what it is owed
        elif self._buffer:
            if waited > limits.receive_seconds:
                self._refuse(ReceiveTimeout("the request did not arrive in time"))
        elif waited > limits.keepalive_seconds or self._connections.is_stopping:
            self._close()

    def _abort_if_gone(self) -> None:
        if self._transport and self._is_ended and _is_reset(self._transport):
            self._transport.abort()

    def _advance(self) -> None:
        """Ask what is next in the buffer, if it is there as a whole."""
        if not (self._is_busy or self._is_slow) and self._has_more():
            head = self._head or self._next_head()
            if head is not None and len(self._buffer) >= self._start + head.length:
                start, self._at = self._start, self._start + head.length
                self._head = None
                self._ask(head, self._buffer[start : self._at])
                if not self._has_more():
                    self._buffer, self._at = b"", 0
        if self._is_paused or self._buffer:
            self._bound_buffer()

    def _has_more(self) -> bool:
        return len(self._buffer) > self._at

    def _next_head(self) -> Head | None:
        """Read the next head; None when it is incomplete or not for us."""
        end = self._buffer.find(_END, self._at)
        stop = end + 4 if end >= 0 else len(self._buffer)
        start = self._buffer[self._at : stop]
        if len(start) > self._limits.header_bytes:
            most = self._limits.header_bytes
            self._refuse(HeadTooLarge(f"the head is larger than {most} bytes"))
        elif end >= 0:
            self._head, self._start = self._connections.parse(start), stop
            if self._head is None:
                self._hand_over()
        elif not may_be_hot(start):
            self._hand_over()
        return self._head

    def _ask(self, head: Head, body: bytes) -> None:
        """Have a whole request answered."""
        self.model, query, _, self._keeps_alive, self.seconds = head
        self.text = body if query is None else query
        self._is_busy = True
        self._connections.ask(self)

    def reply(self, reply: Reply) -> None:
        """Answer the request."""
        connections = self._connections
        if self._is_ended and self._is_busy:
            connections.predictor.count_canceled(self.model)
        self._is_busy = False
        self.text, self.pending = b"", None
        self._since = connections.now
        if self._transport is None:
            return  # the peer has left
        closes = not self._keeps_alive or connections.is_stopping
        answer = response(reply, connections.date, closes)
        if not self._answers:
            connections.will_send(self)
        self._answers.append(answer)
        if len(answer) > _LARGE_BYTES:
            self.send()
        if closes or (self._is_ended and not self._has_more()):
            self._close()
        elif self._buffer or self._is_paused:
            self._advance()

    def fail(self) -> None:
        """Say that something is wrong here, unless the answer is under way."""
        if self._is_busy and self.pending is None:
            predictor = self._connections.predictor
            self.reply(predictor.refusal(self.model, InternalError()))

    def send(self) -> None:
        """Write what has been answered."""
        answers, self._answers = self._answers, []
        if answers and self._transport is not None:
            self._transport.write(b"".join(answers))

    def _refuse(self, error: GomlxError) -> None:
        """Say what is wrong, and close."""
        self._keeps_alive = False
        self.reply(self._connections.predictor.refusal("", error))

    def _close(self) -> None:
        """Close once all is written; `check` sees to it that this ends."""
        assert self._transport is not None
        self.send()
        self._is_closing = True
        self._buffer, self._at = b"", 0
        self._transport.close()

    def _hand_over(self) -> None:
        """Give the connection, from the unanswered request on, to Gunicorn."""
        transport, buffer = self._transport, self._buffer[self._at :]
        assert transport is not None
        self.send()
        self._leave()
        if self._is_paused:
            transport.resume_reading()
        protocol = self._connections.hand_over()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(buffer)

    def _leave(self) -> None:
        if self._transport is not None:
            self._transport = None
            self._buffer, self._at = b"", 0
            self._connections.open.discard(self)
            self._connections.count(-1)

    def _bound_buffer(self) -> None:
        """Stop reading from a peer that sends faster than it takes answers."""
        if self._transport is None or self._is_closing:
            return
        most = self._limits.header_bytes + self._limits.body_bytes
        waits = self._is_busy or self._is_slow
        has_enough = waits and len(self._buffer) - self._at > most
        if has_enough and not self._is_paused:
            self._transport.pause_reading()
        elif self._is_paused and not has_enough:
            self._transport.resume_reading()
        self._is_paused = has_enough


def _is_reset(transport: asyncio.Transport) -> bool:
    """Tell whether the peer has; nothing else does while we do not read or write."""
    state = transport.get_extra_info("socket").getsockopt(
        socket.IPPROTO_TCP, socket.TCP_INFO, 1
    )
    return bool(state[0] == _TCP_CLOSE)


def _tls(transport: asyncio.BaseTransport) -> ssl.SSLObject | None:
    found: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
    return found
