"""What routes send: replies of the predictor, and JSON documents."""

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable
from typing import Any

import falcon.asgi
import orjson

from gomlx.server.predict.reply import Reply

MIN_GZIP_BYTES = 1024
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)


class JsonDocument:
    """A route that answers GET with JSON.

    make: called with the parameters of the path; returns the HTTP status and the
    document.
    """

    def __init__(self, make: Callable[..., tuple[int, Any]]) -> None:
        self._make = make

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, **path: str
    ) -> None:
        response.status, document = self._make(**path)
        await send_json_packed(request, response, orjson.dumps(document))


class JsonLine:
    """A route that answers GET with one line of JSON, as mly does."""

    def __init__(self, make: Callable[..., Awaitable[Any]]) -> None:
        self._make = make

    async def on_get(
        self, _: falcon.asgi.Request, response: falcon.asgi.Response, **path: str
    ) -> None:
        send_json(response, orjson.dumps(await self._make(**path)) + b"\n")


def accepts_gzip(request: falcon.asgi.Request) -> bool:
    """Return whether the client accepts a gzipped body."""
    accepted = request.get_header("Accept-Encoding") or ""
    return bool(_GZIP.search(accepted))


def send(response: falcon.asgi.Response, reply: Reply) -> None:
    """Send a reply of the predictor: the same bytes and headers as the hot routes."""
    response.status = reply.status
    send_json(response, reply.body)
    if reply.cache_status:
        response.set_header("Cache-Status", reply.cache_status)
    if reply.version:
        response.set_header("Gomlx-Version", reply.version)
    if reply.retry_after is not None:
        response.set_header("Retry-After", str(reply.retry_after))


def send_json(response: falcon.asgi.Response, body: bytes) -> None:
    """Send a body of JSON."""
    response.data = body
    response.content_type = "application/json"


async def send_json_packed(
    request: falcon.asgi.Request, response: falcon.asgi.Response, body: bytes
) -> None:
    """Send a body of JSON, gzipped if it is large and the client accepts that."""
    if len(body) > MIN_GZIP_BYTES and accepts_gzip(request):
        body = await asyncio.to_thread(gzip.compress, body, 1)
        response.set_header("Content-Encoding", "gzip")
    response.set_header("Vary", "Accept-Encoding")
    send_json(response, body)
