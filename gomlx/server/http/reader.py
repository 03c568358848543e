"""A reader of HTTP/1.1 without I/O: bytes in, requests for the hot routes out.

Which requests it returns depends on the bytes alone, not on how they are cut:

            a head, for a hot route
    HEAD ──────────────────────────► BODY
      ▲ │                             │
      │ │                             │
      └─│ its body: a CompleteRequest ┘
        │
        ├── a head, or the beginning of one, of another kind ──► REST: NOT_OURS
        └── a head over the limit ───────────────────────────► FAILED: HeadTooLarge

In HEAD and BODY, `next_event` returns NEED_DATA while bytes are missing. REST and
FAILED are final, and `rest` begins with the head that led there. Pipelined requests
wait in the buffer, each for a call of `next_event`.
"""

from enum import Enum
from typing import Final

from gomlx.server.http.head import KEPT_BYTES, Head, HeadParser, may_begin_hot_request
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.response import HeadTooLarge

_HEAD_END = b"\r\n\r\n"

# A head, and the body; that of a GET is b"". PERF: a plain tuple, as a NamedTuple costs
# 0.15 us more to make, a seventh of what a hit costs in this package
# (`python -m loadtests.against` measures hits).
CompleteRequest = tuple[Head, bytes]


class Signal(Enum):
    """What the reader returns where there is no request."""

    NEED_DATA = "the next request has not arrived as a whole"
    NOT_OURS = "from `rest` on, the bytes are for another protocol"


NEED_DATA: Final = Signal.NEED_DATA
NOT_OURS: Final = Signal.NOT_OURS
Event = CompleteRequest | Signal | HeadTooLarge


class ReaderState(Enum):
    """What the reader expects."""

    HEAD = "a head, or the rest of one"
    BODY = "the rest of a body"
    REST = "nothing: another protocol reads on"
    FAILED = "nothing: the head is over the limit"


_HEAD: Final = ReaderState.HEAD
_BODY: Final = ReaderState.BODY


class Reader:
    """Cuts what arrives on one connection into requests.

    buffer: b"" between requests. state: what it expects.
    """

    def __init__(self, parser: HeadParser, limits: HttpLimits) -> None:
        self.buffer = b""
        self.state = _HEAD
        self._at = 0  # where the next request begins in the buffer
        self._head: Head | None = None  # of that request, in BODY
        self._body_at = 0  # where its body begins, in BODY
        self._parse = parser
        self._parse_short = parser.short
        self._short_bytes = min(KEPT_BYTES, limits.header_bytes)
        self._header_bytes = limits.header_bytes
        self._request_bytes = limits.header_bytes + limits.body_bytes

    @property
    def rest(self) -> bytes:
        """What has been received since the end of the last request."""
        return self.buffer[self._at :]

    @property
    def is_full(self) -> bool:
        """Whether more is buffered than the largest request has."""
        return len(self.buffer) - self._at > self._request_bytes

    def read_one(self, data: bytes) -> CompleteRequest | None:
        """Return the request that these bytes are; for when nothing is buffered.

        None: they are not exactly one request. `receive` them.

        PERF: nearly always they are; nothing is buffered then.
        """
        end = data.find(_HEAD_END) + 4
        if 4 <= end <= self._short_bytes:
            parse = self._parse_short
            head = parse(data[:end])
            if head is not None and len(data) == end + head.length:
                return head, data[end:]
        return None

    def receive(self, data: bytes) -> None:
        """Buffer more bytes, for `next_event` to read."""
        if self._at:
            self.buffer = self.buffer[self._at :]
            self._body_at -= self._at
            self._at = 0
        self.buffer += data

    def next_event(self) -> Event:
        """Read on. A request is returned once."""
        if self.state is _HEAD:
            self.state = self._read_head()
        head = self._head
        if head is None:
            return self._event_without_head()
        start = self._body_at
        end = start + head.length
        if len(self.buffer) < end:
            return NEED_DATA
        body = self.buffer[start:end]
        self.state = _HEAD
        self._head = None
        if len(self.buffer) > end:
            self._at = end
        else:
            self.buffer = b""
            self._at = 0
        return head, body

    def clear(self) -> None:
        """Drop what is buffered, and expect a new head."""
        self.buffer = b""
        self.state = _HEAD
        self._at = 0
        self._head = None

    def _read_head(self) -> ReaderState:
        end = self.buffer.find(_HEAD_END, self._at)
        self._body_at = end + 4 if end >= 0 else len(self.buffer)
        head = self.buffer[self._at : self._body_at]
        if len(head) > self._header_bytes:
            return ReaderState.FAILED
        if end < 0:
            return _HEAD if may_begin_hot_request(head) else ReaderState.REST
        self._head = self._parse(head)
        return _BODY if self._head is not None else ReaderState.REST

    def _event_without_head(self) -> Signal | HeadTooLarge:
        if self.state is ReaderState.REST:
            return NOT_OURS
        if self.state is ReaderState.FAILED:
            return HeadTooLarge(self._header_bytes)
        return NEED_DATA
