"""?signature=NAME: the signature that a request of a model is for."""

from typing import Any
from urllib.parse import unquote_plus

import falcon.asgi

from gomlx.errors import SignatureNotFound
from gomlx.models.serving.current import Current

_PARAMETER = "signature="
_MODELS = "/v1/api/model/"


class SignatureChoice:
    """Middleware: the model of a route becomes that of the signature in the query.

    An input may be named so, too: in the query of a row it is the input, unless the
    model has further signatures.
    """

    def __init__(self, current: Current) -> None:
        self._current = current

    async def process_resource(
        self,
        request: falcon.asgi.Request,
        response: falcon.asgi.Response,
        resource: object,
        params: dict[str, Any],
    ) -> None:
        """Choose before the route is called.

        Raises SignatureNotFound, ModelNotFound, NotReady.
        """
        if not request.path.startswith(_MODELS) or "name" not in params:
            return
        model = params["name"]
        others = request.query_string.split("&")
        chosen = [part for part in others if part.startswith(_PARAMETER)]
        is_row = request.method in ("GET", "HEAD") and request.path.endswith("/eval")
        if not chosen or (is_row and not self._further(model)):
            return
        signature = unquote_plus(chosen[-1].removeprefix(_PARAMETER))
        params["name"] = self._name(model, signature)
        request.query_string = "&".join(p for p in others if p not in chosen)

    def _name(self, model: str, signature: str) -> str:
        """Return what is served by a signature of a model."""
        current = self._current
        own = current.require(model).servable.version.signature
        name = f"{model}:{signature}"
        further = self._further(model)
        if signature == own:
            return model
        if name not in further:
            served = further.intersection(current.names)
            known = [other.partition(":")[2] for other in served]
            raise SignatureNotFound(model, signature, [own, *known])
        if current.get(name) is None:
            raise current.not_ready(name)
        return name

    def _further(self, model: str) -> set[str]:
        """Return the further signatures of a model, those that are refused, too."""
        current = self._current
        names = {*current.further(model), *current.reasons}
        return {name for name in names if name.startswith(f"{model}:")}
