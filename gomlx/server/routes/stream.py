"""Questions in, answers out, a line each, for as long as the client likes.

    body ─► _read ─► Predictor ─► lines, in the order they were asked ─► __anext__
              └ waits while the window is full: then nobody reads from the client

The server takes the next part of the response when the client has read the last one. So
a client that does not read fills the window, then the server's buffers, then its own.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

import orjson

from gomlx.errors import TooLarge
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import PendingRequest

# After the last line that is taken, the client may go on sending. Were the connection
# closed at once, the kernel would reset it, and answers on their way would be lost.
_LINGER_SECONDS = 1.0
# Of a chunk, before the event loop gets a turn: blank lines fill no window.
_SLICE_BYTES = 16 << 10


class StreamLimits(NamedTuple):
    """What one stream may hold: rows that are asked or whose answers are not taken.

    line_bytes bounds a line; and beyond one line, all that waits. line_seconds: from
    when a line has been read to its answer.
    """

    rows: int
    line_bytes: int
    line_seconds: float


class Body(Protocol):
    """A request's body as it arrives."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def exhaust(self) -> None:
        """Read what is left, and forget it."""


class Stream:
    """One stream: iterate for the response's body, then close."""

    def __init__(
        self, predictor: Predictor, name: str, body: Body, limits: StreamLimits
    ) -> None:
        self._predictor, self._name = predictor, name
        self._body, self._limits = body, limits
        self._tail = bytearray()  # of the body: a line that has not ended yet
        self._lines: deque[_Line] = deque()
        self._rows = self._bytes = 0  # of these lines
        self._has_room, self._has_news = asyncio.Event(), asyncio.Event()
        self._patience: asyncio.Timeout | None = None  # with a client that is silent
        self._tasks: list[asyncio.Task[None]] = []

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._tasks = [
            asyncio.create_task(self._read()),
            asyncio.create_task(self._stop()),
        ]
        self._tasks[0].add_done_callback(lambda _: self._has_news.set())
        return self

    async def __anext__(self) -> bytes:
        """Return the answers that are there, as soon as the first one is."""
        reading = self._tasks[0]
        while not (answers := self._taken()):
            if reading.done() and not self._lines:
                reading.result()  # raises what is a bug
                raise StopAsyncIteration
            self._has_news.clear()
            await self._has_news.wait()
        return answers

    async def close(self) -> None:
        """Let go of everything; answers that come later are nobody's."""
        for line in self._lines:
            if line.pending and not line.answer:
                self._predictor.abandon(line.pending)
        self._lines.clear()
        for task in self._tasks:
            task.cancel()

    async def _read(self) -> None:
        """Ask line after line, until the body ends or the service stops."""
        body = aiter(self._body)
        try:
            while chunk := await self._next(body):
                for at in range(0, len(chunk), _SLICE_BYTES):
                    for text in self._split(chunk[at : at + _SLICE_BYTES]):
                        await self._ask(text)
                    await asyncio.sleep(0)
            if not self._predictor.stopping.is_set():
                await self._ask(bytes(self._tail))
        except TooLarge as error:
            self._complete(self._line(0), self._predictor.refusal(self._name, error))
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._body.exhaust()

    async def _next(self, body: AsyncIterator[bytes]) -> bytes:
        """Return what arrived; nothing at the body's end and once the service stops."""
        if self._predictor.stopping.is_set():
            return b""
        try:
            async with asyncio.timeout(None) as self._patience:
                return await anext(body, b"")
        except TimeoutError:
            return b""
        finally:
            self._patience = None

    async def _stop(self) -> None:
        """Wait for no more of the body once the service stops."""
        await self._predictor.stopping.wait()
        if self._patience:
            self._patience.reschedule(0)

    def _split(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the lines that a chunk ends. Raises TooLarge."""
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            self._check(part)
            yield bytes(self._tail) + part if self._tail else part
            self._tail.clear()
        self._check(rest)
        self._tail += rest

    def _check(self, part: bytes) -> None:
        most = self._limits.line_bytes
        if len(self._tail) + len(part) > most:
            raise TooLarge(f"the line is larger than {most} bytes; the stream ends")

    async def _ask(self, text: bytes) -> None:
        """Put a line to the predictor, once there is room for it."""
        if not text or text.isspace():
            return
        while self._is_full():
            self._has_room.clear()
            await self._has_room.wait()
        line = self._line(len(text))
        line.pending = self._predictor.submit(
            self._name, text, partial(self._complete, line), self._limits.line_seconds
        )
        line.rows = len(line.pending.answers) if line.pending else 1
        self._rows += line.rows

    def _is_full(self) -> bool:
        """Tell whether to wait until the client has taken answers.

        A stream whose own rows wait for the model adds no more than that can take.
        """
        rows, size, _ = self._limits
        if self._rows >= rows or self._bytes >= size:
            return True
        return bool(self._rows) and not self._predictor.has_room(self._name)

    def _line(self, size: int) -> "_Line":
        line = _Line(size)
        self._lines.append(line)
        self._bytes += size
        return line

    def _complete(self, line: "_Line", reply: Reply) -> None:
        line.answer = as_line(reply)
        line.size += len(line.answer)
        self._bytes += len(line.answer)
        self._has_news.set()

    def _taken(self) -> bytes:
        """Take the answers that no earlier line is still without."""
        taken = []
        while self._lines and self._lines[0].answer:
            line = self._lines.popleft()
            self._rows -= line.rows
            self._bytes -= line.size
            taken.append(line.answer)
        self._has_room.set()
        return b"".join(taken)


class _Line:
    """A line that was asked, and what it takes of the window."""

    __slots__ = ("answer", "pending", "rows", "size")

    def __init__(self, size: int) -> None:
        self.answer = b""
        self.pending: PendingRequest | None = None  # while it may wait
        self.rows, self.size = 0, size


def as_line(reply: Reply) -> bytes:
    """Return a reply's body as one line, with what its head would say."""
    # Raw line breaks in JSON are blanks: a transformer's answer in Redis may have some.
    body = reply.body[:-1].replace(b"\n", b" ")
    if reply.status == 200:
        cache = orjson.dumps(reply.cache_status)
        version = reply.version.encode()
        return b'%b,"version":"%b","cacheStatus":%b}\n' % (body, version, cache)
    return b'%b,"code":%d}\n' % (body, reply.status)
