"""/v1/api/model/ID/meta/contract: all that our own clients need to know of a model."""

from collections.abc import Mapping
from dataclasses import dataclass

import falcon.asgi

from gomlx.config.schema import Datastore
from gomlx.contract.document import Contract
from gomlx.models.serving.current import Current
from gomlx.models.version import model_of
from gomlx.server.routes.meta.kept import KeptDocument, KeptDocuments, send_kept


@dataclass(frozen=True)
class ModelSettings:
    """The part of the config that clients of one model need to know.

    max_rows limits one request. datastore: where answers are cached, or None.
    """

    max_rows: int
    max_body_bytes: int
    datastore: Datastore | None


class Contracts:
    """The contracts of the live versions, each encoded once. For the event loop.

    settings: by model.
    """

    def __init__(self, current: Current, settings: Mapping[str, ModelSettings]) -> None:
        self._current = current
        self._settings = settings
        self._documents = KeptDocuments()

    def tag(self, name: str) -> str:
        """Return the tag of the live version's contract.

        Raises ModelNotFound, NotReady.
        """
        return self._contract(name).tag

    async def document(self, name: str) -> KeptDocument:
        """Return the live version's contract. Raises ModelNotFound, NotReady."""
        contract = self._contract(name)
        return await self._documents.get(name, contract.tag, contract.dump)

    def _contract(self, name: str) -> Contract:
        live = self._current.require(name)
        settings = self._settings[model_of(name)]
        description = live.servable.description
        store = None if description.unsteady else settings.datastore
        return Contract(
            live.servable.version.name,
            live.servable.version.digest,
            live.signature,
            live.dictionary.kinds,
            bool(description.transformer),
            store.ttl_seconds if store else 0.0,
            settings.max_rows,
            settings.max_body_bytes,
            description.rows_together,
        )


class ContractRoute:
    """The route from which our own clients learn a model.

    The ETag changes with the version and with the settings above, so that a shorter
    time to live reaches clients, too.
    """

    def __init__(self, contracts: Contracts) -> None:
        self._contracts = contracts

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        tag = self._contracts.tag(name)
        if tag in (request.if_none_match or []):
            response.set_header("Vary", "Accept-Encoding")
            response.status = 304
            response.etag = tag
            return
        document = await self._contracts.document(name)
        response.etag = document.tag
        send_kept(request, response, document)
