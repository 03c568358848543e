"""What routes send: replies of the predictor, and JSON documents; and to whom.

Without `endpoint.admin` in the config, all may see all. With it, some routes are for
admins only, and /readyz tells others no more than whether the service is ready.
"""

import asyncio
import gzip
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import falcon.asgi
import orjson

from gomlx.config.tokens import Admins
from gomlx.errors import Unauthorized
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


class AdminsOnly:
    """Middleware that refuses the requests of others for some routes."""

    def __init__(self, admins: Admins, routes: Collection[object]) -> None:
        self._admins = admins
        self._routes = {id(route) for route in routes}

    async def process_resource(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """Look before the route is called. Raises Unauthorized."""
        if id(resource) not in self._routes or request.method == "OPTIONS":
            return
        response.set_header("Cache-Control", "no-store")
        if not is_admin(request, self._admins):
            raise Unauthorized(request.path)


class ForAdmins:
    """A route that answers GET with one document for admins, and another for others."""

    def __init__(
        self, admins: Admins, document: JsonDocument, public: JsonDocument
    ) -> None:
        self._admins = admins
        self._document = document
        self._public = public

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response
    ) -> None:
        is_full = is_admin(request, self._admins)
        document = self._document if is_full else self._public
        await document.on_get(request, response)


def is_admin(request: falcon.asgi.Request, admins: Admins) -> bool:
    """Return whether a request has the token of an admin."""
    return admins.admits(request.get_header("Authorization") or "")


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
