"""?signature=NAME: the signature that a request of a model is for."""

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote_plus

import falcon.asgi

from gomlx.errors import SignatureNotFound

_PARAMETER = "signature="
_MODELS = "/v1/api/model/"


class SignatureChoice:
    """Middleware: the model of a route becomes that of the signature in the query.

    An input may be named so, too: in the query of a row it is the input, unless the
    model has further signatures.
    """

    def __init__(self, models: Iterable[Mapping[str, Any]]) -> None:
        """models: their sections of the config."""
        self._served: dict[str, dict[str, str]] = {}  # model → signature → id
        for model in models:
            name, _, further = model["id"].partition(":")
            own = further or model["signature"] or "serving_default"
            self._served.setdefault(name, {})[own] = model["id"]

    async def process_resource(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """Choose before the route is called. Raises SignatureNotFound."""
        served = self._served.get(params.get("name", ""))
        if not served or not request.path.startswith(_MODELS):
            return
        others = request.query_string.split("&")
        chosen = [part for part in others if part.startswith(_PARAMETER)]
        is_row = request.method in ("GET", "HEAD") and request.path.endswith("/eval")
        if not chosen or (is_row and len(served) == 1):
            return
        signature = unquote_plus(chosen[-1].removeprefix(_PARAMETER))
        if signature not in served:
            raise SignatureNotFound(params["name"], signature, served)
        params["name"] = served[signature]
        request.query_string = "&".join(p for p in others if p not in chosen)
