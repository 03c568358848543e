"""/v1/api/model/ID/stream: rows in, answers out, one line each, without end.

    body ─► _read ─► Predictor ─► Window, in the order of the lines ─► __anext__
              └ waits while the window is full: then the client's body is not read

Falcon asks for the next part of the response when the client has read the last one. So
a client that does not read fills the window, then the server's buffers, then its own.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import NamedTuple, Protocol

import falcon.asgi

from gomlx.errors import GomlxError, TooLarge
from gomlx.server.body import BodyBudget, BodyParts, TooManyBodies
from gomlx.server.http.coding import check_transfer, coding_of
from gomlx.server.http.ids.asgi import request_id_of
from gomlx.server.pace import Pace
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.reply import Reply
from gomlx.server.recording.heads import Recording
from gomlx.server.recording.streams import StreamRecording, recording_predictor
from gomlx.server.routes.eval import span_start
from gomlx.server.routes.lines import LineSplitter, as_line
from gomlx.server.routes.window import Line, StreamWindow

# After the last accepted line the client may continue to send. If the connection were
# closed at once, the kernel would reset it, and answers on their way would be lost.
_ARRIVAL_SECONDS = 0.25  # for what was sent before a stop
_LINGER_SECONDS = 1.0
# Of a chunk, before the event loop gets a turn: blank lines fill no window.
_SLICE_BYTES = 16 << 10


class StreamLimits(NamedTuple):
    """What one stream may hold: rows that run, or whose answers are not read.

    line_bytes bounds a line; and beyond one line, everything that waits. line_seconds:
    from the arrival of a line to its answer. receive_seconds: for a line to arrive,
    from its first byte. idle_seconds: for the next line to come. bodies: what all lines
    and bodies under way in the worker hold. pace: of the lines of all streams.
    """

    rows: int
    line_bytes: int
    line_seconds: float
    receive_seconds: float
    idle_seconds: float
    bodies: BodyBudget
    pace: Pace


class _StreamRequest(NamedTuple):
    """What a stream is for, and what all its lines are called in logs."""

    model: str
    request_id: str


class StreamTimeout(GomlxError):
    """A stream whose next line does not begin, or end, in time."""

    status = 408

    def __init__(self, seconds: float, has_begun: bool) -> None:
        what = "a whole line" if has_begun else "a line"
        super().__init__(f"{what} did not arrive within {seconds:g} s; the stream ends")


class RequestBody(Protocol):
    """A request's body as it arrives."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def exhaust(self) -> None:
        """Read the rest, and discard it."""


class StreamRoute:
    """Streams for each model."""

    def __init__(
        self, predictor: Predictor, limits: StreamLimits, recording: Recording
    ) -> None:
        """recording: decides which streams are recorded."""
        self._predictor = predictor
        self._limits = limits
        self._recording = recording

    async def on_post(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        check_transfer(request.get_header("Transfer-Encoding"))
        coding_of(request.get_header("Content-Encoding"), "identity")
        self._predictor.check(name)
        response.stream = self._stream(request, name)
        response.content_type = "application/x-ndjson"
        response.set_header("X-Accel-Buffering", "no")  # or nginx holds answers back

    def _stream(
        self, request: falcon.asgi.Request, name: str
    ) -> "Stream | StreamRecording":
        called = request_id_of(request.scope)
        start = span_start(self._recording, request)
        if start is None:
            return Stream(self._predictor, name, request.stream, self._limits, called)
        lines = start.stream(name)
        predictor = recording_predictor(self._predictor, lines)
        stream = Stream(predictor, name, request.stream, self._limits, called)
        return StreamRecording(stream, lines)


class Stream:
    """One stream: iterate for the response's body, then close."""

    def __init__(
        self,
        predictor: Predictor,
        name: str,
        body: RequestBody,
        limits: StreamLimits,
        request_id: str = "",
    ) -> None:
        """request_id: that of all its lines."""
        self._predictor = predictor
        self._request = _StreamRequest(name, request_id)
        self._body = body
        self._limits = limits
        self._since = time.monotonic()  # the last line, or what has arrived of one
        self._splitter = LineSplitter(limits.line_bytes, limits.bodies)
        self._window = StreamWindow(limits.rows, limits.line_bytes)
        self._waiting: asyncio.Timeout | None = None  # for the next chunk
        self._tasks: list[asyncio.Task[None]] = []
        self._has_stopped = False  # no more of the body is read

    def __aiter__(self) -> AsyncIterator[bytes]:
        reading = asyncio.create_task(self._read())
        reading.add_done_callback(lambda _: self._window.notify())
        self._tasks = [reading, asyncio.create_task(self._stop())]
        return self

    async def __anext__(self) -> bytes:
        """Return the answers that are there, as soon as the first one is."""
        reading = self._tasks[0]
        while not (answers := self._window.drain()):
            if reading.done() and not len(self._window):
                reading.result()  # raises if it failed
                raise StopAsyncIteration
            await self._window.wait_until_completed()
        return answers

    async def close(self) -> None:
        """Abandon the requests that wait, and stop reading."""
        for pending in self._window.clear():
            self._predictor.abandon(pending)
        self._splitter.close()
        for task in self._tasks:
            task.cancel()

    async def _read(self) -> None:
        """Submit line after line, until the body ends or the service stops."""
        chunks = aiter(self._body)
        try:
            while chunk := await self._next(chunks):
                await self._submit_lines(chunk)
            if not self._predictor.stopping.is_set():
                await self._submit(self._splitter.last())
        except (TooLarge, TooManyBodies, StreamTimeout) as error:
            refusal = self._predictor.refusal(self._request.model, error)
            self._complete(self._window.open(0), refusal)
            self._splitter.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._body.exhaust()

    async def _next(self, chunks: AsyncIterator[bytes]) -> bytes:
        """Return the next chunk; empty at the body's end and once the service stops.

        Raises StreamTimeout.
        """
        if self._has_stopped:
            return b""
        limits = self._limits
        is_late = self._splitter.has_begun
        seconds = limits.receive_seconds if is_late else limits.idle_seconds
        left = self._since + seconds - time.monotonic()
        try:
            async with asyncio.timeout(max(left, 0.0)) as self._waiting:
                return await anext(chunks, b"")
        except TimeoutError:
            if self._has_stopped:
                return b""
            raise StreamTimeout(seconds, is_late) from None
        finally:
            self._waiting = None

    async def _stop(self) -> None:
        """Stop waiting for the body once the service stops.

        What was sent before is on its way, in the kernel or in TLS, and is answered.
        """
        await self._predictor.stopping.wait()
        await asyncio.sleep(_ARRIVAL_SECONDS)
        self._has_stopped = True
        if self._waiting:
            self._waiting.reschedule(0)

    async def _submit_lines(self, chunk: bytes) -> None:
        """Submit the lines that a chunk completes. Raises TooLarge, TooManyBodies."""
        for at in range(0, len(chunk), _SLICE_BYTES):
            had_begun = self._splitter.has_begun
            for text in self._splitter.split(chunk[at : at + _SLICE_BYTES]):
                await self._submit(text)
                had_begun = False
                if self._limits.pace.is_spent:
                    await self._limits.pace.turn()
            if self._splitter.has_begun and not had_begun:
                self._since = time.monotonic()
            await asyncio.sleep(0)

    async def _submit(self, text: bytes | BodyParts) -> None:
        """Submit a line to the predictor, as soon as there is room for it."""
        if isinstance(text, bytes) and (not text or text.isspace()):
            return
        while self._has_to_wait():
            await self._window.wait_until_drained()
        self._since = time.monotonic()
        started = time.perf_counter()
        line = self._window.open(len(text))
        completed = partial(self._complete, line)
        model, request_id = self._request
        pending = self._predictor.submit(
            model, text, completed, self._limits.line_seconds, request_id
        )
        self._window.submitted(line, pending)
        self._limits.pace.spend(time.perf_counter() - started)

    def _has_to_wait(self) -> bool:
        """Return whether the next line waits until the client has read answers.

        A stream whose own rows wait for the model adds no more than its queue takes.
        """
        if self._window.is_full():
            return True
        return self._window.has_rows and not self._predictor.has_room(
            self._request.model
        )

    def _complete(self, line: Line, reply: Reply) -> None:
        self._window.complete(line, as_line(reply))
