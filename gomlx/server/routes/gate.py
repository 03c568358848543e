"""Who may call which route of one listener.

With `endpoint.admin` some routes are for admins only, and /readyz tells others no more
than whether the service is ready. With `endpoint.auth` the routes of models are for its
clients; the hot protocol decides alike, and gives what it does not admit to Falcon.
"""

from collections.abc import Collection
from typing import Any

import falcon.asgi

from gomlx.server.access.caller import caller_of
from gomlx.server.access.permissions import Permissions
from gomlx.server.routes.response import JsonDocument


class Gate:
    """Middleware that refuses requests; details: the routes for admins only."""

    def __init__(self, access: Permissions, details: Collection[object]) -> None:
        self._access = access
        self._details = {id(route) for route in details}

    async def process_resource(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """Look before the route is called. Raises Unauthorized, Forbidden."""
        if request.method == "OPTIONS":
            return
        access = self._access
        is_detail = id(resource) in self._details
        if is_detail:
            response.set_header("Cache-Control", "no-store")
        if access.admins and is_admin(request, access):
            return
        caller = caller_of(request.scope)
        if is_detail and access.admins:
            raise access.admins.refusal(request.path, caller.addresses)
        if access.clients and "name" in params and not is_detail:
            access.clients.check(
                params["name"],
                request.get_header("Authorization"),
                caller.certificate.valid_names,
            )


class ForAdmins:
    """A route that answers GET with one document for admins, and another for others."""

    def __init__(
        self, access: Permissions, document: JsonDocument, public: JsonDocument
    ) -> None:
        self._access = access
        self._document = document
        self._public = public

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response
    ) -> None:
        is_full = is_admin(request, self._access)
        document = self._document if is_full else self._public
        await document.on_get(request, response)


def is_admin(request: falcon.asgi.Request, access: Permissions) -> bool:
    """Return whether a request is of an admin of this listener."""
    admins = access.admins
    if admins is None:
        return False
    authorization = request.get_header("Authorization")
    addresses = caller_of(request.scope).addresses
    return all(admins.admits(authorization, address) for address in addresses)
