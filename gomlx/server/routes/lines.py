"""The lines of a stream: a body's bytes → requests, a reply → its line."""

from collections.abc import Iterator

import orjson

from gomlx.errors import TooLarge
from gomlx.server.body import BodyBudget, BodyParts
from gomlx.server.predict.reply import Reply


class LineSplitter:
    """Splits a body that arrives in chunks into lines of bounded size."""

    def __init__(self, max_bytes: int, bodies: BodyBudget) -> None:
        self._max_bytes = max_bytes
        self._bodies = bodies
        self._unfinished: BodyParts | None = None

    @property
    def has_begun(self) -> bool:
        """Whether a line has arrived in part."""
        return self._unfinished is not None

    def split(self, chunk: bytes) -> Iterator[bytes | BodyParts]:
        """Yield the lines that a chunk completes. Raises TooLarge, TooManyBodies."""
        *ends, start = chunk.split(b"\n")
        for end in ends:
            self._check(end)
            if self._unfinished:
                self._unfinished.add(end)
                yield self.last()
            else:
                yield end
        if start:
            self._check(start)
            if self._unfinished is None:
                self._unfinished = BodyParts(self._bodies)
            self._unfinished.add(start)

    def last(self) -> bytes | BodyParts:
        """Return the last line of a body, which needs no line break."""
        line = self._unfinished
        self._unfinished = None
        return line.text() if line else b""

    def close(self) -> None:
        """Drop the beginning of a line."""
        if self._unfinished:
            self._unfinished.release()

    def _check(self, part: bytes) -> None:
        limit = self._max_bytes
        size = len(self._unfinished) if self._unfinished else 0
        if size + len(part) > limit:
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
