"""The application for requests that have ids: every route but the hot ones."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gomlx.server.http.ids.field import REQUEST_ID, RequestIds

_KEY = "gomlx.request_id"  # in a scope
_Asgi = Callable[..., Awaitable[None]]


class IdentifiedApp:
    """An ASGI application whose responses have the ids of their requests."""

    def __init__(self, app: _Asgi, ids: RequestIds) -> None:
        self._app = app
        self._ids = ids

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = [value for name, value in scope["headers"] if name == REQUEST_ID]
        request_id = self._ids.of(given)
        if not request_id:
            await self._app(scope, receive, send)
            return

        async def identified(message: Mapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), (REQUEST_ID, request_id)]
                message = {**message, "headers": headers}
            await send(message)

        called = {**scope, _KEY: request_id.decode()}
        await self._app(called, receive, identified)


def request_id_of(scope: Mapping[str, Any]) -> str:
    """Return the id of a request; "": it has none."""
    found: str = scope.get(_KEY, "")
    return found
