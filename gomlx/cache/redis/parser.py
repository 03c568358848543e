"""redis-py's parser over hiredis, with a bound on the length of lists."""

import re
from typing import Any

from redis import exceptions
from redis._parsers import _AsyncHiredisParser

# The header of a list longer than any that we request, and where one may begin: these
# bytes may stand in a value, too.
_ENDLESS = re.compile(rb"[*~%>|]\d{6}")
_SUSPICIOUS = re.compile(rb"(?:^|\r\n)" + _ENDLESS.pattern)
_SIZED = b"$=!"  # types whose header says how many bytes follow
_LONGEST_HEADER = 16  # bytes, of one that may be split between two reads
_LONGEST_LINE = 1 << 16
_MAX_UNSEEN_BYTES = 1 << 20


class BoundedParser(_AsyncHiredisParser):
    """Refuses what hiredis would allocate: a list as long as the other side claims.

    Freeing a list of a billion elements takes seconds of the event loop.
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
        self._check(data)
        self._reader.feed(data)
        return True

    def _check(self, data: bytes) -> None:
        """Raise InvalidResponse for an endless list.

        PERF: most replies do not even look like one. To find the headers in the others,
        bytes are kept from where a header began: after a line's end at which hiredis
        had consumed all, since it consumes whole values, and headers but for their
        type.
        """
        if self._tail.endswith(b"\n") and not self._reader.has_data():
            self._begin()
        self._unseen += data
        recent = self._tail + data
        self._tail = recent[-_LONGEST_HEADER:]
        if _SUSPICIOUS.search(recent) or len(self._unseen) > _MAX_UNSEEN_BYTES:
            self._headers.follow(bytes(self._unseen))
            self._unseen.clear()

    def _begin(self) -> None:
        self._headers = Headers()
        self._unseen = bytearray()
        self._tail = b""


class Headers:
    """Follows replies from header to header, and skips the bytes of values."""

    def __init__(self) -> None:
        self._begun = b""  # the beginning of a header
        self._value_bytes = 0  # of a value, that are still to come

    def follow(self, data: bytes) -> None:
        """Continue with the next bytes. Raises InvalidResponse."""
        data = self._begun + data
        at = self._value_bytes
        while 0 <= (end := data.find(b"\r\n", at)):
            self._check(data, at)
            at = end + 2 + _value_after(data[at:end])
        self._begun = data[at:]
        self._value_bytes = max(at - len(data), 0)
        self._check(self._begun, 0)
        if len(self._begun) > _LONGEST_LINE:
            raise exceptions.InvalidResponse("a line longer than any of Redis")

    def _check(self, data: bytes, at: int) -> None:
        if _ENDLESS.match(data, at):
            raise exceptions.InvalidResponse("a list longer than requested")


def _value_after(header: bytes) -> int:
    """Return how many bytes stand between a header and the next one."""
    if header[:1] not in _SIZED or header[1:2] == b"-":
        return 0
    try:
        return int(header[1:]) + 2
    except ValueError:
        raise exceptions.InvalidResponse("a value of no length") from None
