"""The Falcon application: the table of its routes, and errors → responses.

It serves every route but the hot ones; those, too, for HTTP/2 and unusual requests.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import falcon.asgi

from gomlx.errors import GomlxError, InternalError, Unauthorized
from gomlx.models.serving.current import Current
from gomlx.server.access.permissions import OPEN, Permissions
from gomlx.server.http.coding import UnsupportedCoding
from gomlx.server.http.ids.asgi import request_id_of
from gomlx.server.predict.predictor import Predictor
from gomlx.server.routes.eval import EvalRoute
from gomlx.server.routes.gate import ForAdmins, Gate
from gomlx.server.routes.health import Health
from gomlx.server.routes.metrics import MetricsRoute
from gomlx.server.routes.mly_operations import Operations
from gomlx.server.routes.page.files import page_routes
from gomlx.server.routes.page.stats import Stats, StatsRoute
from gomlx.server.routes.response import JsonDocument, JsonLine, send
from gomlx.server.routes.signatures import SignatureChoice
from gomlx.server.routes.stream import StreamRoute

log = logging.getLogger(__name__)

_MODEL = "/v1/api/model/{name}"
_METRIC = "/v1/api/metric"
_OPERATION = f"{_METRIC}/operation/{{name}}"
_PROBES = ("/livez", "/readyz")
_PREDICTIONS = (f"{_MODEL}/eval", f"{_MODEL}/stream")


@dataclass(frozen=True)
class Handlers:
    """What answers the requests of each route; config: with secrets masked.

    meta: what is known of a model, by the last part of the path.
    """

    current: Current
    predictor: Predictor
    eval: EvalRoute
    stream: StreamRoute
    meta: Mapping[str, Any]
    health: Health
    metrics: MetricsRoute
    operations: Operations
    stats: Stats
    config: Mapping[str, Any]


def build_app(handlers: Handlers, access: Permissions = OPEN) -> Any:
    """Return the ASGI application of one listener."""
    app = falcon.asgi.App()
    app.req_options.keep_blank_qs_values = True
    operations = _operation_routes(handlers.operations)
    routes = _routes(handlers) | operations
    if not access.is_open:
        # First: others learn neither which models nor which signatures there are.
        app.add_middleware(_gate(routes, access, handlers.health))
    app.add_middleware(SignatureChoice(handlers.current))
    page = page_routes() if access.shows_page else {}
    for path, route in (routes | page).items():
        app.add_route(path, route)
    errors = _Errors(handlers.predictor, handlers.current, [*operations])
    app.add_error_handler(GomlxError, errors.on_error)
    app.add_error_handler(falcon.HTTPError, errors.on_http_error)
    app.add_error_handler(Exception, errors.on_bug)
    app.add_sink(errors.not_found)
    return app


def _routes(handlers: Handlers) -> dict[str, Any]:
    health = handlers.health
    config = JsonDocument(lambda: (200, handlers.config))
    meta = {f"{_MODEL}/meta/{name}": route for name, route in handlers.meta.items()}
    return meta | {
        f"{_MODEL}/eval": handlers.eval,
        f"{_MODEL}/stream": handlers.stream,
        "/v1/api/health": JsonDocument(health.health),
        "/v1/api/stats": StatsRoute(handlers.stats),
        "/v1/api/config": config,
        "/v1/api/config/": config,
        "/livez": JsonDocument(health.live),
        "/readyz": JsonDocument(health.ready),
        "/metrics": handlers.metrics,
        "/v1/prometheus": handlers.metrics,
    }


def _gate(routes: dict[str, Any], access: Permissions, health: Health) -> Gate:
    """Return what refuses the requests of others.

    Change the routes that tell less, and remove those that this listener has not.
    """
    ready = routes["/readyz"]
    routes["/readyz"] = ForAdmins(access, ready, JsonDocument(health.ready_only))
    details = {
        path: route for path, route in routes.items() if _is_detail(path, access)
    }
    if not access.has_details:
        for path in details:
            del routes[path]
    return Gate(access, [*details.values()])


def _is_detail(path: str, access: Permissions) -> bool:
    """Whether a route is for admins only."""
    if path in _PROBES:
        return False
    is_for_clients = path in _PREDICTIONS or (
        access.open_meta and path.startswith(f"{_MODEL}/meta/")
    )
    return access.is_for_admins or not is_for_clients


def _operation_routes(operations: Operations) -> dict[str, Any]:
    return {
        f"{_METRIC}/operations": JsonLine(operations.operations),
        _OPERATION: JsonLine(operations.operation),
        f"{_OPERATION}/cumulative/{{metric}}": JsonLine(operations.cumulative_metric),
        f"{_OPERATION}/recent": JsonLine(operations.recent),
        f"{_OPERATION}/recent/{{metric}}": JsonLine(operations.recent_metric),
        f"{_METRIC}/counters": JsonLine(operations.counters),
        f"{_METRIC}/counter/{{name}}": JsonLine(operations.counter),
    }


class _Errors:
    """Errors → responses.

    metric_routes: the paths below /v1/api/metric, for a 404 there.
    """

    def __init__(
        self, predictor: Predictor, current: Current, metric_routes: Sequence[str]
    ) -> None:
        self._predictor = predictor
        self._current = current
        self._metric_routes = metric_routes

    async def on_error(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        error: GomlxError,
        params: dict[str, Any],
    ) -> None:
        """An error that is raised on purpose: its message is for the client."""
        send(response, self._predictor.refusal(params.get("name", ""), error))
        if isinstance(error, Unauthorized):
            response.set_header("WWW-Authenticate", error.challenge)
        if isinstance(error, UnsupportedCoding):
            response.set_header("Accept-Encoding", error.accepted)

    async def on_http_error(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        error: falcon.HTTPError,
        params: dict[str, Any],
    ) -> None:
        """A request that Falcon refuses."""
        message = error.description or error.title
        if error.status_code == 405:
            message = f"{request.method} is not allowed at {request.path}"
        for name, value in dict(error.headers or {}).items():
            response.set_header(name, value)
        self._refuse(response, error.status_code, message)

    async def on_bug(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        error: Exception,
        params: dict[str, Any],
    ) -> None:
        """Any other exception is a bug: its message is only for the log."""
        called = request_id_of(request.scope)
        where = f", request {called}" if called else ""
        log.error("unexpected%s", where, exc_info=error)
        send(response, self._predictor.refusal("", InternalError()))

    async def not_found(self, req: falcon.asgi.Request, resp: Any, **_: Any) -> None:
        """A path without a route."""
        routes = (
            "/v1/api/model/ID/eval, /v1/api/model/ID/stream, "
            "/v1/api/health, /v1/api/stats, /livez, /readyz, /metrics"
        )
        if req.path.startswith(_METRIC):
            routes = ", ".join(self._metric_routes)
        message = f"nothing at {req.path}; routes: {routes}"
        if not self._current.is_terse:
            models = ", ".join(sorted(self._current.names)) or "none"
            message += f"; models: {models}"
        self._refuse(resp, 404, message)

    def _refuse(
        self, response: falcon.asgi.Response, status: int, message: str
    ) -> None:
        """Refuse a request that is for no model."""
        error = GomlxError(message)
        error.status = status
        send(response, self._predictor.refusal("", error))
