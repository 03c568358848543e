"""/v1/api/model/ID/eval over Falcon: HTTP/2, and unusual requests of HTTP/1.1."""

import asyncio
from functools import partial
from time import perf_counter

import falcon.asgi

from gomlx.errors import TooLarge
from gomlx.server.body import BodyParts
from gomlx.server.http.coding import check_transfer, coding_of, unpacked
from gomlx.server.http.ids.asgi import request_id_of
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.response import ReceiveTimeout
from gomlx.server.predict import deadlines
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import CallbackRequester
from gomlx.server.recording.heads import Recording, SpanStart
from gomlx.server.routes.response import send

# A packed body up to this size is unpacked at once: it holds a thousand times as much
# at most, which takes some milliseconds.
_MAX_INLINE_BYTES = 1024


class EvalRoute:
    """A prediction: rows in a JSON body or a query string, answers in the reply."""

    def __init__(
        self, predictor: Predictor, limits: HttpLimits, recording: Recording
    ) -> None:
        """recording: decides which requests are recorded."""
        self._predictor = predictor
        self._limits = limits
        self._recording = recording

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        send(response, await self._reply(request, name, request.query_string))

    async def on_post(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        send(
            response,
            await self._reply(request, name, await read_body(request, self._limits)),
        )

    async def _reply(
        self, request: falcon.asgi.Request, name: str, text: bytes | str | BodyParts
    ) -> Reply:
        """Submit a request to the predictor, and wait for its reply."""
        header = request.get_header(deadlines.HEADER)
        seconds = deadlines.timeout_seconds(header, self._limits.request_seconds)
        reply: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        on_reply = partial(_resolve, reply)
        called = request_id_of(request.scope)
        start = span_start(self._recording, request)
        if start is None or name not in self._predictor.models:
            pending = self._predictor.submit(name, text, on_reply, seconds, called)
        else:
            one = CallbackRequester(text, on_reply, perf_counter(), seconds, called)
            start.predict(name, one, request.method)
            pending = one.pending
        try:
            return await reply
        except asyncio.CancelledError:  # the client has disconnected
            if pending:
                self._predictor.abandon(pending)
            raise


def span_start(recording: Recording, request: falcon.asgi.Request) -> SpanStart | None:
    """Return who wants a request recorded; None: it is not."""
    value = request.get_header("traceparent", default="").encode("latin-1")
    return recording.start_of(value, request.scope["http_version"])


async def read_body(
    request: falcon.asgi.Request, limits: HttpLimits
) -> bytes | BodyParts:
    """Read and unpack the whole body of a request, but no more than the limit.

    Raises ReceiveTimeout, TooLarge, TooManyBodies, UnsupportedTransfer,
    UnsupportedCoding, InvalidInput.
    """
    check_transfer(request.get_header("Transfer-Encoding"))
    try:
        async with asyncio.timeout(limits.receive_seconds):
            body = await _received(request, limits)
    except TimeoutError:
        raise ReceiveTimeout from None
    coding = coding_of(request.get_header("Content-Encoding"))
    limit = limits.body_bytes
    if not coding:
        return body.text()
    if len(body) <= _MAX_INLINE_BYTES:
        return unpacked(body.joined(), coding, limit)
    found = BodyParts(limits.bodies)
    found.add(await asyncio.to_thread(_unpacked, body, coding, limit))
    return found.text()


async def _received(request: falcon.asgi.Request, limits: HttpLimits) -> BodyParts:
    """Read the whole body, but no more than the limit.

    Raises TooLarge, TooManyBodies.
    """
    limit = limits.body_bytes
    if (request.content_length or 0) > limit:
        raise TooLarge(f"the body is larger than {limit} bytes")
    body = BodyParts(limits.bodies)
    async for chunk in request.stream:
        body.add(chunk)
        if len(body) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
    return body


def _unpacked(body: BodyParts, coding: str, limit: int) -> bytes:
    return unpacked(body.joined(), coding, limit)


def _resolve(waiting: "asyncio.Future[Reply]", reply: Reply) -> None:
    if not waiting.done():  # else its client has disconnected in this turn
        waiting.set_result(reply)
