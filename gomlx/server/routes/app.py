"""Falcon: every route but the hot ones, and those too for unusual requests.

The one place where errors become responses that Falcon sends.
"""

import asyncio
import gzip
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any

import falcon.asgi
import orjson

from gomlx.errors import GomlxError, InternalError, TooLarge
from gomlx.server.http.limits import HttpLimits
from gomlx.server.predict import deadlines
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.reply import Reply
from gomlx.server.routes.health import Status
from gomlx.server.routes.meta import Contracts
from gomlx.server.routes.mly_operations import Operations
from gomlx.server.routes.stream import Stream, StreamLimits

log = logging.getLogger(__name__)

_METRIC = "/v1/api/metric"
_WORTH_GZIP = 1024  # bytes
_GZIP = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)


class App:
    """The routes. An instance makes one Falcon application."""

    def __init__(
        self,
        predictor: Predictor,
        status: Status,
        operations: Operations,
        limits: HttpLimits,
    ) -> None:
        self._predictor, self._status, self._limits = predictor, status, limits
        window = status.config()[1]["endpoint"]["stream_window"]
        self._stream_limits = StreamLimits(
            window, limits.body_bytes, limits.request_seconds
        )
        operation = "/operation/{name}"
        self._metrics: dict[str, Callable[..., Awaitable[Any]]] = {
            "/operations": operations.operations,
            operation: operations.operation,
            f"{operation}/cumulative/{{metric}}": operations.cumulative_metric,
            f"{operation}/recent": operations.recent,
            f"{operation}/recent/{{metric}}": operations.recent_metric,
            "/counters": operations.counters,
            "/counter/{name}": operations.counter,
        }

    def asgi(self) -> Any:
        """Return the ASGI application."""
        app = falcon.asgi.App()
        app.req_options.keep_blank_qs_values = True
        app.add_error_handler(GomlxError, self._on_error)
        app.add_error_handler(falcon.HTTPError, self._on_http_error)
        app.add_error_handler(Exception, self._on_bug)
        status = self._status
        model = "/v1/api/model/{name}"
        app.add_route(f"{model}/eval", _Eval(self._predictor, self._limits))
        stream = _Stream(self._predictor, self._stream_limits)
        app.add_route(f"{model}/stream", stream)
        app.add_route(f"{model}/meta/config", _Document(status.meta_config))
        dictionary = _Document(status.meta_dictionary)
        app.add_route(f"{model}/meta/dictionary", dictionary)
        app.add_route(f"{model}/meta/contract", _Contract(status.contracts))
        for path, document in {
            "/v1/api/health": status.health,
            "/v1/api/config": status.config,
            "/v1/api/config/": status.config,
            "/livez": status.live,
            "/readyz": status.ready,
        }.items():
            app.add_route(path, _Document(document))
        for path in ("/metrics", "/v1/prometheus"):
            app.add_route(path, _Metrics(status))
        for path, make in self._metrics.items():
            app.add_route(f"{_METRIC}{path}", _Measured(make))
        app.add_sink(self._not_found)
        return app

    async def _on_error(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        error: GomlxError,
        params: dict[str, Any],
    ) -> None:
        _send(response, self._predictor.refusal(params.get("name", ""), error))

    async def _not_found(self, req: falcon.asgi.Request, resp: Any, **_: Any) -> None:
        models = ", ".join(sorted(self._status.models)) or "none"
        routes = (
            "/v1/api/model/ID/eval, /v1/api/model/ID/stream, "
            "/v1/api/health, /livez, /readyz, /metrics"
        )
        if req.path.startswith(_METRIC):
            routes = ", ".join(_METRIC + path for path in self._metrics)
        message = f"nothing at {req.path}; routes: {routes}; models: {models}"
        self._send_error(resp, 404, message)

    async def _on_http_error(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        error: falcon.HTTPError,
        params: dict[str, Any],
    ) -> None:
        message = error.description or error.title
        if error.status_code == 405:
            message = f"{request.method} does not go with {request.path}"
        for name, value in dict(error.headers or {}).items():
            response.set_header(name, value)
        self._send_error(response, error.status_code, message)

    async def _on_bug(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        error: Exception,
        params: dict[str, Any],
    ) -> None:
        log.error("unexpected", exc_info=error)
        _send(response, self._predictor.refusal("", InternalError()))

    def _send_error(
        self, response: falcon.asgi.Response, status: int, message: str
    ) -> None:
        """Refuse a request that is for no model."""
        error = GomlxError(message)
        error.status = status
        _send(response, self._predictor.refusal("", error))


class _Eval:
    def __init__(self, predictor: Predictor, limits: HttpLimits) -> None:
        self._predictor, self._limits = predictor, limits

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        _send(response, await self._answer(request, name, request.query_string))

    async def on_post(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        _send(response, await self._answer(request, name, await self._body(request)))

    async def _answer(
        self, request: falcon.asgi.Request, name: str, text: bytes | str
    ) -> Reply:
        """Put a question to the predictor and wait for its reply."""
        header = request.get_header(deadlines.HEADER)
        seconds = deadlines.timeout_seconds(header, self._limits.request_seconds)
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        pending = self._predictor.submit(name, text, answered.set_result, seconds)
        try:
            return await answered
        except asyncio.CancelledError:  # the client has gone
            if pending:
                self._predictor.abandon(pending)
            raise

    async def _body(self, request: falcon.asgi.Request) -> bytes:
        """Read the body, but never more of it than may be."""
        limit = self._limits.body_bytes
        if (request.content_length or 0) > limit:
            raise TooLarge(f"the body is larger than {limit} bytes")
        body = bytearray()
        async for chunk in request.stream:
            body += chunk
            if len(body) > limit:
                raise TooLarge(f"the body is larger than {limit} bytes")
        return bytes(body)


class _Stream:
    def __init__(self, predictor: Predictor, limits: StreamLimits) -> None:
        self._predictor, self._limits = predictor, limits

    async def on_post(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        self._predictor.check(name)
        response.stream = Stream(self._predictor, name, request.stream, self._limits)
        response.content_type = "application/x-ndjson"
        response.set_header("X-Accel-Buffering", "no")  # or nginx holds answers back


class _Document:
    """A route that answers GET with JSON; make returns it, with its status."""

    def __init__(self, make: Callable[..., tuple[int, Any]]) -> None:
        self._make = make

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, **path: str
    ) -> None:
        response.status, document = self._make(**path)
        body = orjson.dumps(document)
        if len(body) > _WORTH_GZIP and _accepts_gzip(request):
            # A vocabulary may hold a million strings: not on the loop.
            body = await asyncio.to_thread(gzip.compress, body, 1)
            response.set_header("Content-Encoding", "gzip")
        response.set_header("Vary", "Accept-Encoding")
        _send_json(response, body)


class _Contract:
    """The route from which our own clients learn a model.

    Its tag changes with the version and with what the config says beside it, so that a
    shorter time to live reaches clients, too.
    """

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        tag = self._contracts.tag(name)
        response.set_header("Vary", "Accept-Encoding")
        known = request.if_none_match or []
        if tag in known:
            response.status = 304
            response.etag = tag
            return
        document = await self._contracts.document(name)
        response.etag = document.tag
        if _accepts_gzip(request):
            response.set_header("Content-Encoding", "gzip")
            _send_json(response, document.zipped)
        else:
            _send_json(response, document.body)


def _accepts_gzip(request: falcon.asgi.Request) -> bool:
    accepted = request.get_header("Accept-Encoding") or ""
    return bool(_GZIP.search(accepted))


class _Measured:
    """A route that answers GET with what was measured; make returns it."""

    def __init__(self, make: Callable[..., Awaitable[Any]]) -> None:
        self._make = make

    async def on_get(
        self, _: falcon.asgi.Request, response: falcon.asgi.Response, **path: str
    ) -> None:
        _send_json(response, orjson.dumps(await self._make(**path)) + b"\n")


class _Metrics:
    def __init__(self, status: Status) -> None:
        self._status = status

    async def on_get(
        self, _: falcon.asgi.Request, response: falcon.asgi.Response
    ) -> None:
        response.data = await self._status.metrics()
        response.content_type = "text/plain; version=0.0.4; charset=utf-8"


def _send(response: falcon.asgi.Response, reply: Reply) -> None:
    response.status = reply.status
    _send_json(response, reply.body)
    if reply.cache_status:
        response.set_header("Cache-Status", reply.cache_status)
    if reply.version:
        response.set_header("Gomlx-Version", reply.version)
    if reply.retry_after is not None:
        response.set_header("Retry-After", str(reply.retry_after))


def _send_json(response: falcon.asgi.Response, body: bytes) -> None:
    response.data = body
    response.content_type = "application/json"
