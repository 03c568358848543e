"""A reader of HTTP/1.1 without I/O: bytes in, requests for the hot routes out.

Which requests it returns depends on the bytes alone, not on how they are cut:

            a head, for a hot route
    HEAD ──────────────────────────► BODY
      ▲ │                             │
      │ │                             │
      └─│ its body: a CompleteRequest ┘
        │
        ├── a head, or the beginning of one, of another kind ──► REST: NOT_OURS
        └── a head over the limit, or bodies over theirs ────► FAILED: the error

In HEAD and BODY, `next_event` returns NEED_DATA while bytes are missing. REST and
FAILED are final, and `rest` begins with the head that led there. Pipelined requests
wait in the buffer, each for a call of `next_event`. A body that comes in parts grows in
BodyParts, unless it is short: what is appended to the buffer copies all of it, and is
not counted with the bodies of other connections.
"""

from enum import Enum
from typing import Final

from gomlx.errors import GomlxError
from gomlx.server.body import BodyParts, TooManyBodies
from gomlx.server.http.head import (
    HEAD_END,
    KEPT_BYTES,
    Head,
    ParsesHeads,
    may_begin_hot_request,
)
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.response import HeadTooLarge

_AHEAD_BYTES = 1 << 16  # of pipelined requests, while one is answered
_SHORT_BYTES = 1 << 12  # of a body: as much as a connection costs anyway

# A head, and the body: b"" of a GET, BodyParts if it is large and came in parts.
# PERF: a plain tuple, as a NamedTuple costs 0.15 us more to make, a seventh of what a
# hit costs in this package (`python -m loadtests.against` measures hits).
CompleteRequest = tuple[Head, bytes | BodyParts]


class Signal(Enum):
    """What the reader returns where there is no request."""

    NEED_DATA = "the next request has not arrived as a whole"
    NOT_OURS = "from `rest` on, the bytes are for another protocol"


NEED_DATA: Final = Signal.NEED_DATA
NOT_OURS: Final = Signal.NOT_OURS
Event = CompleteRequest | Signal | GomlxError


class ReaderState(Enum):
    """What the reader expects."""

    HEAD = "a head, or the rest of one"
    BODY = "the rest of a body"
    REST = "nothing: another protocol reads on"
    FAILED = "nothing: the head is over the limit"
    CROWDED = "nothing: bodies under way are over the limit of all"


_HEAD: Final = ReaderState.HEAD
_BODY: Final = ReaderState.BODY


class Reader:
    """Cuts what arrives on one connection into requests.

    buffer: b"" between requests. state: what it expects.
    """

    def __init__(self, parser: ParsesHeads, limits: HttpLimits) -> None:
        self.buffer = b""
        self.state = _HEAD
        self._at = 0  # where the next request begins in the buffer; in BODY, its body
        self._head: Head | None = None  # of that request, in BODY
        self._body: BodyParts | None = None  # in BODY, if it is incomplete, not short
        self._limits = limits
        self.use(parser)
        self._short_bytes = min(KEPT_BYTES, limits.header_bytes)

    def use(self, parser: ParsesHeads) -> None:
        """Parse further heads by another parser."""
        self._parse = parser
        self._parse_short = parser.short

    @property
    def rest(self) -> bytes:
        """What has been received since the end of the last request."""
        return self.buffer[self._at :]

    @property
    def is_full(self) -> bool:
        """Whether so much is buffered that no more is read while a request waits."""
        limits = self._limits
        most = min(limits.header_bytes + limits.body_bytes, _AHEAD_BYTES)
        return len(self.buffer) - self._at > most

    def read_one(self, data: bytes) -> CompleteRequest | None:
        """Return the request that these bytes are; for when nothing is buffered.

        None: they are not exactly one request. `receive` them.

        PERF: nearly always they are; nothing is buffered then.
        """
        end = data.find(HEAD_END) + 4
        if 4 <= end <= self._short_bytes:
            parse = self._parse_short
            head = parse(data[:end])
            if head is not None and len(data) == end + head.length:
                return head, data[end:]
        return None

    def receive(self, data: bytes) -> None:
        """Buffer more bytes, for `next_event` to read."""
        body = self._body
        if body is None:
            if self._at and self.state is _HEAD:
                self.buffer = self.buffer[self._at :]
                self._at = 0
            self.buffer += data
            return
        assert self._head is not None  # it is the body's
        missing = self._head.length - len(body)
        self._add_to(body, data[:missing])
        if len(data) > missing:
            self.buffer += data[missing:]

    def next_event(self) -> Event:
        """Read on. A request is returned once."""
        if self.state is _HEAD:
            self.state = self._read_head()
        head = self._head
        if head is None:
            return self._event_without_head()
        found = self._body_of(head)
        if found is None:
            return NEED_DATA if self._head else self._event_without_head()
        self.state = _HEAD
        self._head = None
        self._body = None
        if len(self.buffer) <= self._at:
            self.buffer = b""
            self._at = 0
        return head, found

    def clear(self) -> None:
        """Drop what is buffered, and expect a new head."""
        self.buffer = b""
        self.state = _HEAD
        self._at = 0
        self._head = None
        self._body = None

    def _read_head(self) -> ReaderState:
        end = self.buffer.find(HEAD_END, self._at)
        body_at = end + 4 if end >= 0 else len(self.buffer)
        head = self.buffer[self._at : body_at]
        if len(head) > self._limits.header_bytes:
            return ReaderState.FAILED
        if end < 0:
            return _HEAD if may_begin_hot_request(head) else ReaderState.REST
        self._head = self._parse(head) or self._read_traced(head)
        if self._head is None:
            return ReaderState.REST
        self._at = body_at
        return _BODY

    def _read_traced(self, head: bytes) -> Head | None:
        """Return a head with a traceparent; further ones are expected to have one."""
        self._parse_short = self._parse.short_for(head) or self._parse_short
        return self._parse.read(head)

    def _body_of(self, head: Head) -> bytes | BodyParts | None:
        """Return the body and pass it, or None while bytes of it are missing."""
        body = self._body
        if body is not None:
            return body.text() if len(body) == head.length else None
        start = self._at
        end = start + head.length
        if len(self.buffer) >= end:
            self._at = end
            return self.buffer[start:end]
        if head.length >= _SHORT_BYTES:
            self._body = body = BodyParts(self._limits.bodies)
            self._add_to(body, self.buffer[start:])
            self.buffer = self.buffer[:start]
        return None

    def _add_to(self, body: BodyParts, data: bytes) -> None:
        try:
            body.add(data)
        except TooManyBodies:
            self._head = None
            self._body = None
            self.state = ReaderState.CROWDED

    def _event_without_head(self) -> Signal | GomlxError:
        match self.state:
            case ReaderState.REST:
                return NOT_OURS
            case ReaderState.FAILED:
                return HeadTooLarge(self._limits.header_bytes)
            case ReaderState.CROWDED:
                return TooManyBodies(self._limits.bodies.limit)
        return NEED_DATA
