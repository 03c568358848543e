"""redis-py's parser over hiredis, bounded."""

import re
from typing import Any

from redis import exceptions
from redis._parsers import _AsyncHiredisParser

# The beginning of a list longer than any that we ask for.
_ENDLESS = re.compile(rb"(?:^|\r\n)[*~%>]\d{6}")
_LONGEST_HEAD = 16  # bytes that may end one read and go on in the next


class BoundedParser(_AsyncHiredisParser):
    """hiredis, which allocates a list as long as the other side says.

    Of a billion elements, freeing it again takes seconds of the event loop.
    """

    _tail = b""
    _reader: Any
    _stream: Any

    async def read_from_socket(self) -> bool:
        data = await self._stream.read(self._read_size)
        if not data:
            raise exceptions.ConnectionError("the server closed the connection")
        recent = self._tail + data
        if _ENDLESS.search(recent):
            raise exceptions.InvalidResponse("a list longer than was asked for")
        self._tail = recent[-_LONGEST_HEAD:]
        self._reader.feed(data)
        return True

    def on_connect(self, connection: Any) -> None:
        super().on_connect(connection)  # type: ignore[no-untyped-call]
        self._tail = b""
