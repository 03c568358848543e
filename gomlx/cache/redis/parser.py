"""redis-py's parser over hiredis, bounded."""

import re
from typing import Any

from redis import exceptions
from redis._parsers import _AsyncHiredisParser

# A list longer than any that we ask for, and where one may begin: in a value, too.
_ENDLESS = re.compile(rb"[*~%>|]\d{6}")
_SUSPICIOUS = re.compile(rb"(?:^|\r\n)" + _ENDLESS.pattern)
_SIZED = b"$=!"  # what is followed by so many bytes as its header says
_LONGEST_HEAD = 16  # bytes that may end one read and go on in the next
_LONGEST_LINE = 1 << 16
_HELD = 1 << 20  # bytes


class BoundedParser(_AsyncHiredisParser):
    """hiredis, which allocates a list as long as the other side says.

    Of a billion elements, freeing it again takes seconds of the event loop.
    """

    _reader: Any
    _stream: Any
    _headers: "Headers"
    _unseen: bytearray
    _tail: bytes

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._begin()

    async def read_from_socket(self) -> bool:
        data = await self._stream.read(self._read_size)
        if not data:
            raise exceptions.ConnectionError("the server closed the connection")
        self._look_at(data)
        self._reader.feed(data)
        return True

    def _look_at(self, data: bytes) -> None:
        """Raise InvalidResponse for a list without an end.

        PERF: most replies do not even look like one. To find the headers in the others,
        bytes are held from where a header began: after a line's end at which hiredis
        had nothing left, since it takes whole values, and headers but for their type.
        """
        if self._tail.endswith(b"\n") and not self._reader.has_data():
            self._begin()
        self._unseen += data
        recent = self._tail + data
        self._tail = recent[-_LONGEST_HEAD:]
        if _SUSPICIOUS.search(recent) or len(self._unseen) > _HELD:
            self._headers.follow(bytes(self._unseen))
            self._unseen.clear()

    def _begin(self) -> None:
        self._headers, self._unseen, self._tail = Headers(), bytearray(), b""


class Headers:
    """Goes through replies from header to header, past whatever values hold."""

    def __init__(self) -> None:
        self._begun = b""  # of a header
        self._value = 0  # bytes that are still to come of one

    def follow(self, data: bytes) -> None:
        """Go on with the next bytes. Raises InvalidResponse."""
        data = self._begun + data
        at = self._value
        while 0 <= (end := data.find(b"\r\n", at)):
            self._check(data, at)
            at = end + 2 + _value_after(data[at:end])
        self._begun, self._value = data[at:], max(at - len(data), 0)
        self._check(self._begun, 0)
        if len(self._begun) > _LONGEST_LINE:
            raise exceptions.InvalidResponse("a line longer than Redis says")

    def _check(self, data: bytes, at: int) -> None:
        if _ENDLESS.match(data, at):
            raise exceptions.InvalidResponse("a list longer than was asked for")


def _value_after(header: bytes) -> int:
    """Return how many bytes follow a header before the next one."""
    if header[:1] not in _SIZED or header[1:2] == b"-":
        return 0
    try:
        return int(header[1:]) + 2
    except ValueError:
        raise exceptions.InvalidResponse("a value of no length") from None
