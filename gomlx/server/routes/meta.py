"""What clients must know of each model, as bytes that are ready to send."""

import asyncio
import gzip
from collections.abc import Mapping
from typing import Any, NamedTuple

from gomlx.contract.document import Contract
from gomlx.models.serving.current import Current


class ContractDocument(NamedTuple):
    """A version's contract, as this service has it."""

    tag: str
    body: bytes
    zipped: bytes


class Contracts:
    """The contracts of the live versions, each written once. For the event loop.

    config is the whole config: it tells the limits and how long answers live.
    """

    def __init__(self, current: Current, config: Mapping[str, Any]) -> None:
        self._current = current
        self._max_body_bytes = config["endpoint"]["max_body_bytes"]
        stores = {store["id"]: store["ttl_seconds"] for store in config["datastores"]}
        self._limits = {
            model["id"]: (
                stores.get(model["datastore"], 0.0),
                model["batch"]["max_queued_rows"],
            )
            for model in config["models"]
        }
        self._written: dict[str, tuple[str, asyncio.Task[ContractDocument]]] = {}

    def tag(self, name: str) -> str:
        """Return the live version's contract's. Raises ModelNotFound, NotReady."""
        return self._contract(name).tag

    async def document(self, name: str) -> ContractDocument:
        """Return the live version's. Raises ModelNotFound, NotReady."""
        contract = self._contract(name)
        version, task = self._written.get(name, ("", None))
        if task is None or version != contract.version:
            # A vocabulary may hold a million strings: not on the loop.
            writing = asyncio.to_thread(_write, contract)
            version, task = contract.version, asyncio.create_task(writing)
            self._written[name] = version, task
        return await asyncio.shield(task)

    def _contract(self, name: str) -> Contract:
        live = self._current.require(name)  # raises what there is to say
        description = live.servable.description
        ttl_seconds, max_rows = self._limits[name]
        return Contract(
            name,
            live.servable.version.digest,
            live.signature,
            live.dictionary.kinds,
            bool(description.transformer),
            0.0 if description.unsteady else ttl_seconds,
            max_rows,
            self._max_body_bytes,
        )


def _write(contract: Contract) -> ContractDocument:
    body = contract.dump()
    return ContractDocument(contract.tag, body, gzip.compress(body, 1, mtime=0))
