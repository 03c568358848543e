"""The application with an access log: every route but the hot ones."""

import re
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Any

from gomlx.server.http.ids.asgi import request_id_of
from gomlx.server.logs.access import Access, AccessRecorder

_Application = Callable[..., Awaitable[None]]
_Send = Callable[[Mapping[str, Any]], Awaitable[None]]
_MODEL = re.compile(rb"/v1/api/model/([^/]+)/")


class LoggedApp:
    """An ASGI application whose requests are in the access log.

    A stream is one request, sampled when it begins and logged when it ends.
    """

    def __init__(self, access: AccessRecorder, app: _Application) -> None:
        self._access = access
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: _Send) -> None:
        access = self._access
        access.gap -= 1
        if access.gap >= 0 or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        access.chosen()
        response = _ObservedResponse(send)
        began = perf_counter()
        try:
            await self._app(scope, receive, response)
        finally:
            if response.status:  # else the peer has disconnected before
                seconds = perf_counter() - began
                made = _access_of(scope, response, seconds)
                access.record(lambda: made, len(made.target))


class _ObservedResponse:
    """Passes a response on; its status, the bytes of its body, and Cache-Status."""

    def __init__(self, send: _Send) -> None:
        self.status = 0
        self.size = 0
        self.cache_status = ""
        self._send = send

    async def __call__(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.cache_status = _cache_status(message.get("headers", ()))
        else:
            self.size += len(message.get("body", b""))
        await self._send(message)


def _cache_status(headers: Any) -> str:
    for name, value in headers:
        if name.lower() == b"cache-status":
            return str(value.decode("latin-1"))
    return ""


def _access_of(scope: Any, response: _ObservedResponse, seconds: float) -> Access:
    target: bytes = scope["raw_path"]
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    model = _MODEL.match(target)
    client = scope["client"]
    return Access(
        client[0] if client else "",
        scope["method"],
        target.decode("latin-1"),
        response.status,
        response.size,
        seconds,
        model[1].decode("latin-1") if model else "",
        response.cache_status,
        request_id_of(scope),
    )
