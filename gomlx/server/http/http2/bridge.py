"""A stream of HTTP/2 as a call of the ASGI application: every route but the hot ones.

    the peer ─► receive ─► the application ─► send ─► the engine ─► the peer

The window of the request's body opens when the application takes a part, and `send`
waits while much of what was sent before is not: a side that does not read stops the
other one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from gomlx.server.http.connections import Connections
from gomlx.server.http.http2.engine import Engine, ErrorCode, Header
from gomlx.server.http.http2.fields import HeaderFields, date_of
from gomlx.server.rounds import PeerCall

log = logging.getLogger(__name__)

AsgiApplication = Callable[..., Awaitable[None]]
Message = Mapping[str, Any]

_MAX_UNSENT = 1 << 16  # bytes of one response
_FAILED: tuple[Header, ...] = ((b":status", b"500"),)


class BridgeOwner(Protocol):
    """The connection of a stream."""

    connections: Connections
    engine: Engine

    @property
    def is_blocked(self) -> bool:
        """Whether the peer does not read, and the transport's buffer is full."""

    def will_flush(self) -> None:
        """Have what the engine has sent at the end of this turn."""

    def at_its_turn(self, call: PeerCall) -> None:
        """Call by turns with whatever else is not for the hot routes."""

    def ended(self, stream: "BridgedStream", is_whole: bool) -> None:
        """Forget a stream: its application has returned.

        is_whole: the request's body had arrived.
        """


class BridgedStream:
    """One request, and the task that answers it.

    began: when, by the clock of the connections. is_complete: the request has arrived.
    is_over: the response has ended, or no caller waits for it.
    """

    __slots__ = (
        "_changed",
        "_flushed",
        "_owner",
        "_parts",
        "_start",
        "_task",
        "began",
        "is_complete",
        "is_over",
        "number",
    )

    def __init__(self, owner: BridgeOwner, number: int) -> None:
        self.number = number
        self.began = owner.connections.now
        self._owner = owner
        self._parts: deque[bytes] = deque()  # of the body; the last one is empty
        self.is_complete = False  # the last part has arrived
        self.is_over = False
        self._start: Message | None = None  # of the response; {} once it is sent
        self._changed = asyncio.Event()  # what the application may receive
        self._flushed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def call(self, application: AsgiApplication, scope: dict[str, Any]) -> None:
        """Have the application answer the request."""
        running = self._run(application, scope)
        self._task = asyncio.get_running_loop().create_task(running)

    # --- from the peer ---

    def receive(self, data: bytes, is_last: bool) -> None:
        """Receive a part of the body."""
        if data:
            self._parts.append(data)
        if is_last:
            self.is_complete = True
            self._parts.append(b"")
        self._changed.set()

    def closed(self) -> None:
        """End the call: the peer has reset the stream, or has disconnected."""
        self.is_over = True
        self._drop_body()
        if self._task:
            # A hundred of one connection take 10 ms to end.
            self._owner.at_its_turn(self._cancel)

    def flushed(self) -> None:
        """Look again whether there is room for more of the response."""
        if self._has_room:
            self._flushed.set()

    def check(self, now: float) -> None:
        """Do nothing: how long a request may take is the route's business."""

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()

    # --- the application's calls ---

    async def _run(self, application: AsgiApplication, scope: dict[str, Any]) -> None:
        expected = dict(scope["headers"]).get(b"expect", b"").lower()
        if expected == b"100-continue" and not self.is_complete:
            self._owner.engine.ask_for_body(self.number)
            self._owner.will_flush()
        try:
            await application(scope, self._received, self._send)
        except Exception:
            log.exception("the application failed")
        finally:
            self._task = None  # which may keep an error, and that this stream
            self._end()

    async def _received(self) -> Message:
        """Return the next part of the body, or wait for the end of all."""
        while not self._parts:
            if self.is_over:
                return {"type": "http.disconnect"}
            self._changed.clear()
            await self._changed.wait()
        data = self._parts.popleft()
        if data:
            self._owner.engine.consume(len(data), self.number)
            self._owner.will_flush()
        return {"type": "http.request", "body": data, "more_body": bool(data)}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        body = message.get("body", b"")
        is_last = not message.get("more_body", False)
        engine = self._owner.engine
        if self._start:
            fields = _fields(self._start, self._owner.connections.lines)
            engine.start_response(self.number, fields, is_last and not body)
            self._start = {}
        elif is_last and not body:
            engine.send_data(self.number, b"", True)
        if body:
            await self._send_body(body, is_last)
        self._owner.will_flush()
        if is_last:
            self.is_over = True
            self._changed.set()
            return
        await self._room()

    async def _send_body(self, body: bytes, is_last: bool) -> None:
        """Send a part of the body, piece by piece: the engine has copies of them."""
        view = memoryview(body)
        for start in range(0, len(view), _MAX_UNSENT):
            if start:
                self._owner.will_flush()
                await self._room()
            end = start + _MAX_UNSENT
            is_end = is_last and end >= len(view)
            self._owner.engine.send_data(self.number, view[start:end], is_end)

    async def _room(self) -> None:
        """Wait until the peer has taken most of what was sent."""
        while not self._has_room:
            self._flushed.clear()
            await self._flushed.wait()

    @property
    def _has_room(self) -> bool:
        owner = self._owner
        return not owner.is_blocked and owner.engine.unsent(self.number) < _MAX_UNSENT

    def _end(self) -> None:
        """End the stream as the application has left it."""
        owner = self._owner
        if not self.is_over and self._start != {}:
            owner.engine.start_response(self.number, _FAILED, True)
        elif not self.is_over:
            owner.engine.reset(self.number, ErrorCode.INTERNAL_ERROR)
        self._drop_body()
        owner.ended(self, self.is_complete)

    def _drop_body(self) -> None:
        for data in self._parts:
            if data:
                self._owner.engine.consume(len(data), self.number)
        self._parts.clear()


def scope_of(
    fields: HeaderFields, tls: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the ASGI scope of a request; extra: what its connection has."""
    values = dict(fields)
    path, _, query = values.get(b":path", b"").partition(b"?")
    authority = values.get(b":authority")
    headers = [(name, value) for name, value in fields if name[:1] != b":"]
    if authority is not None:
        headers = [pair for pair in headers if pair[0] != b"host"]
        headers.insert(0, (b"host", authority))
    scheme = "https" if tls else values.get(b":scheme", b"http").decode("latin-1")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "2",
        "method": values[b":method"].decode("latin-1"),
        "scheme": scheme,
        "path": path.decode("latin-1"),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "extensions": {},
        **extra,
    }


def _fields(start: Message, lines: bytes) -> list[Header]:
    """Return the fields of a response; lines: as every response has them."""
    fields = [(name.lower(), value) for name, value in start["headers"]]
    return [(b":status", b"%d" % start["status"]), *fields, date_of(lines)]
