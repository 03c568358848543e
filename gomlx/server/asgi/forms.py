"""Requests in every form that HTTP has → the form that the routes know.

    absolute targets, percent-escapes      → a path
    HEAD                                   → GET, and the response without its body
    OPTIONS of a path, OPTIONS *           → Allow
    a preflight, an Origin                 → the headers of CORS
    a Host that is missing or malformed, and what may come once but comes twice → 400

The hot protocol hands over whatever is none of its own (server/http/head.py), so this
is the one place for all of them, on HTTP/1.1 and HTTP/2.
"""

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from gomlx.errors import GomlxError, InvalidInput
from gomlx.metrics.instruments import Counter
from gomlx.server.http.cors import CorsRules, HeaderPairs
from gomlx.server.http.target import decoded_path, is_host, origin_form
from gomlx.server.predict.reply import Reply

_Scope = MutableMapping[str, Any]
_Send = Callable[[Mapping[str, Any]], Awaitable[None]]
_Receive = Callable[[], Awaitable[Mapping[str, Any]]]
_Asgi = Callable[..., Awaitable[None]]

_ONCE = (b"host", b"content-type")  # as Gunicorn refuses them over HTTP/1.1
_ALL_METHODS = b"GET, HEAD, POST, OPTIONS"  # of the service, for OPTIONS *


@dataclass(frozen=True)
class BodyBytes:
    """Counts the bytes of bodies; of responses those over HTTP/1.1.

    What is sent over HTTP/2 is counted where it is.
    """

    received: Counter
    sent: Counter


class AnyForm:
    """An ASGI application that passes on usual requests to another one.

    refuse: counts a request that is refused, and returns the reply.
    """

    def __init__(
        self,
        app: _Asgi,
        cors: CorsRules,
        refuse: Callable[[GomlxError], Reply],
        bodies: BodyBytes,
    ) -> None:
        self._app = app
        self._cors = cors
        self._refuse = refuse
        self._bodies = bodies

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "websocket":  # no route has any
            await receive()
            await send({"type": "websocket.close"})
            return
        if scope["http_version"].startswith("1"):
            send = _counted(send, self._bodies.sent)
        try:
            usual = _usual(scope)
        except InvalidInput as error:
            await _send_reply(Responder(scope, self._cors, send), self._refuse(error))
            return
        respond = Responder(usual, self._cors, send)
        if usual["path"] == "*":
            await _send_empty(respond, 204, [(b"allow", _ALL_METHODS)])
            return
        if usual["method"] == "HEAD":
            usual = {**usual, "method": "GET"}
        body = _with_beginning(receive, self._bodies.received)
        await self._app(usual, body, respond)


class Responder:
    """Sends one response, with what its request's method and origin ask for."""

    def __init__(self, scope: _Scope, cors: CorsRules, send: _Send) -> None:
        self._path: str = scope["path"]
        self._method: str = scope["method"]
        self._is_http_1 = scope["http_version"].startswith("1")
        self._origin = b"".join(_values(scope, b"origin"))
        self._is_preflight = (
            self._method == "OPTIONS"
            and self._origin != b""
            and bool(_values(scope, b"access-control-request-method"))
        )
        self._cors = cors
        self._send = send

    async def __call__(self, message: Mapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message = {**message, **self._start(message)}
        elif self._method == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)

    def _start(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """Return the status and the headers."""
        status = message["status"]
        headers = [
            (name, _with_all(value) if name == b"allow" else value)
            for name, value in message["headers"]
        ]
        methods = b"".join(value for name, value in headers if name == b"allow")
        if self._method == "OPTIONS" and status == 200:
            status = 204
            headers = [(b"allow", methods)]
        if self._is_preflight and status == 204:
            headers += self._cors.of_preflight(self._path, self._origin, methods)
        else:
            headers += self._cors.of(self._path, self._origin)
        if status == 408 and self._is_http_1:
            headers.append((b"connection", b"close"))
        return {"status": status, "headers": headers}


def _usual(scope: _Scope) -> _Scope:
    """Return the scope of a usual request. Raises InvalidInput."""
    hosts = _values(scope, b"host")
    if scope["http_version"] == "1.1" and len(hosts) != 1:
        raise InvalidInput(f"HTTP/1.1 needs one Host header; there are {len(hosts)}")
    for name in _ONCE:
        if len(_values(scope, name)) > 1:
            raise InvalidInput(f"more than one {name.decode()} header")
    for host in hosts:
        if not is_host(host):
            raise InvalidInput("the Host header is not a host, with or without a port")
    if not scope["query_string"].isascii():
        raise InvalidInput("the query has bytes other than ASCII: escape them")
    path = origin_form(scope["raw_path"])
    if not path:
        path = b"*" if scope["method"] == "OPTIONS" else b"/"
    if path == b"*" and scope["method"] != "OPTIONS":
        raise InvalidInput("the target * is only for OPTIONS")
    return {**scope, "raw_path": path, "path": decoded_path(path)}


def _counted(send: _Send, sent: Counter) -> _Send:
    async def counted(message: Mapping[str, Any]) -> None:
        sent.n += len(message.get("body", b""))
        await send(message)

    return counted


def _with_beginning(receive: _Receive, received_bytes: Counter) -> _Receive:
    """Put an empty part in front of a body, and count its bytes.

    Falcon calls no route before a part has arrived, so that no route could limit how
    long that takes.
    """
    has_begun = False

    async def received() -> Mapping[str, Any]:
        nonlocal has_begun
        if has_begun:
            message = await receive()
            received_bytes.n += len(message.get("body", b""))
            return message
        has_begun = True
        return {"type": "http.request", "body": b"", "more_body": True}

    return received


def _values(scope: _Scope, wanted: bytes) -> list[bytes]:
    return [value for name, value in scope["headers"] if name == wanted]


def _with_all(allow: bytes) -> bytes:
    """Add to the value of Allow what goes wherever GET goes, and everywhere."""
    methods = allow.decode().split(", ")
    if "GET" in methods and "HEAD" not in methods:
        methods.insert(methods.index("GET") + 1, "HEAD")
    if "OPTIONS" not in methods:
        methods.append("OPTIONS")
    return ", ".join(methods).encode()


async def _send_reply(respond: Responder, reply: Reply) -> None:
    size = b"%d" % len(reply.body)
    headers = [(b"content-type", b"application/json"), (b"content-length", size)]
    start = {"type": "http.response.start", "status": reply.status, "headers": headers}
    await respond(start)
    await respond({"type": "http.response.body", "body": reply.body})


async def _send_empty(respond: Responder, status: int, headers: HeaderPairs) -> None:
    await respond({"type": "http.response.start", "status": status, "headers": headers})
    await respond({"type": "http.response.body", "body": b""})
