"""The lines of a stream: a body's bytes → requests, a reply → its line."""

from collections.abc import Iterator

import orjson

from gomlx.errors import TooLarge
from gomlx.server.predict.reply import Reply


class LineSplitter:
    """Splits a body that arrives in chunks into lines of bounded size."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._unfinished = bytearray()

    def split(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that a chunk completes. Raises TooLarge."""
        *ends, start = chunk.split(b"\n")
        for end in ends:
            self._check(end)
            yield bytes(self._unfinished) + end if self._unfinished else end
            self._unfinished.clear()
        self._check(start)
        self._unfinished += start

    def last(self) -> bytes:
        """Return the last line of a body, which needs no line break."""
        return bytes(self._unfinished)

    def _check(self, part: bytes) -> None:
        limit = self._max_bytes
        if len(self._unfinished) + len(part) > limit:
            raise TooLarge(f"the line is larger than {limit} bytes; the stream ends")


def as_line(reply: Reply) -> bytes:
    """Return a reply as one line: its body, with what its head would say."""
    # In JSON raw line breaks are blanks. A transformer's answer in Redis may hold some.
    body = reply.body[:-1].replace(b"\n", b" ")
    if reply.status == 200:
        cache = orjson.dumps(reply.cache_status)
        version = reply.version.encode()
        return b'%b,"version":"%b","cacheStatus":%b}\n' % (body, version, cache)
    return b'%b,"code":%d}\n' % (body, reply.status)
