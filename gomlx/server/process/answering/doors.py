"""What answers at each listener of a worker: the endpoint's own, and that of admins."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from gomlx.config.schema import Config
from gomlx.server.access.permissions import Permissions, ServicePermissions
from gomlx.server.asgi.forms import AnyForm, BodyBytes
from gomlx.server.asgi.pacing import PacedApp
from gomlx.server.http.connections import Connections, Successors
from gomlx.server.http.cors import CorsRules
from gomlx.server.http.head import NameFilter
from gomlx.server.http.ids.asgi import IdentifiedApp
from gomlx.server.http.ids.field import RequestIds
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.places import admin_places
from gomlx.server.logs.worker import WorkerLogs
from gomlx.server.peers.forwarded import BehindProxies, client_of
from gomlx.server.process.answering.handlers import WorkerParts
from gomlx.server.process.configuring import route_of
from gomlx.server.process.hooks import WorkerHooks
from gomlx.server.process.load import body_bytes
from gomlx.server.routes.app import Handlers, build_app

Asgi = Callable[..., Awaitable[None]]

if TYPE_CHECKING:
    from gomlx.server.http.http2.protocol import Http2Protocol


@dataclass(frozen=True)
class Door:
    """One listener: its connections, and the application that they share.

    answering: makes what answers from the handlers of a config. speaks_tls: if the
    service does.
    """

    connections: Connections
    app: PacedApp
    answering: Callable[[Handlers], Asgi]
    is_for_admins: bool
    speaks_tls: bool

    def answer(self, handlers: Handlers, limits: HttpLimits) -> None:
        """Have all routes answered by other handlers, within other limits."""
        self.app.pass_to(self.answering(handlers))
        self.connections.limits = limits


class DoorMaker:
    """Makes the doors of a worker."""

    def __init__(
        self,
        hooks: WorkerHooks,
        parts: WorkerParts,
        handlers: Handlers,
        logs: WorkerLogs,
        ids: RequestIds | None,
    ) -> None:
        """ids: decides which id each request has; None: none has one."""
        self._ids = ids
        self._hooks = hooks
        self._parts = parts
        self._handlers = handlers
        self._logs = logs

    def doors(self, accesses: ServicePermissions, config: Config) -> list[Door]:
        """Return the endpoint's door, and that of admins if the config has one."""
        cors = CorsRules(config.endpoint.cors)
        hot = {route_of(model.id): model.id for model in config.models}
        public = self._door(accesses.public, hot, cors)
        if accesses.admin is None:
            return [public]
        return [public, self._door(accesses.admin, {}, CorsRules(None))]

    def _door(
        self, access: Permissions, hot: dict[bytes, str], cors: CorsRules
    ) -> Door:
        """hot: path → model."""
        hooks = self._hooks
        counts = body_bytes(self._parts.metrics)
        make = partial(_application, access, cors, counts)
        ids = self._ids

        def answering(handlers: Handlers) -> Asgi:
            app = self._logs.logged(make(handlers))
            return BehindProxies(IdentifiedApp(app, ids) if ids else app, hooks.proxies)

        app = PacedApp(answering(self._handlers))
        http2 = _http2_protocols(app, self._logs)
        connections = Connections(
            hot,
            self._parts.predictor,
            self._parts.limits,
            Successors(
                hooks.hand_over,
                http2,
                hooks.may_use_h2c,
                app,
                identifying=self._logs.identifying_protocol(ids) if ids else None,
                ids=ids,
            ),
            admin_places() if access.is_for_admins else hooks.places,
            cors,
        )
        if access.clients:
            connections.parse.restrict(access.may_predict, _known_names(access))
        if self._logs.tell_peers:
            connections.parse.tell_clients(partial(client_of, trusted=hooks.proxies))
        is_admins = access.is_for_admins
        return Door(connections, app, answering, is_admins, access.speaks_tls)


def _application(
    access: Permissions, cors: CorsRules, counts: BodyBytes, handlers: Handlers
) -> AnyForm:
    """Return what answers the requests of every route."""
    app = build_app(handlers, access)
    return AnyForm(app, cors, partial(handlers.predictor.refusal, ""), counts)


def _http2_protocols(
    app: PacedApp, logs: WorkerLogs
) -> "Callable[[Connections], Http2Protocol] | None":
    try:
        from gomlx.server.http.http2.protocol import http2_protocols
    except ImportError:
        return None
    return http2_protocols(app, logs.http2_requests())


def _known_names(access: Permissions) -> NameFilter | None:
    """Return what finds the names that matter in a certificate; None: none does."""
    clients = access.clients
    return clients.known if clients and clients.have_subjects else None
