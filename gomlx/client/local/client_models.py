"""The versions of one model that a client has, and which of them is current."""

import logging

from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.echoing import EchoModel
from gomlx.client.local.together import TogetherModel
from gomlx.client.options import Options
from gomlx.contract.document import Contract
from gomlx.errors import BadResponse

log = logging.getLogger("gomlx.client")

_MOST_VERSIONS = 2


class ClientModels:
    """The latest versions; the one before the current stays, for a rollback.

    current may be read by any thread. It is None before the first contract is known,
    and in the child of a fork until it connects. Methods are for the event loop, but
    `read` may also run in another thread.
    """

    def __init__(self, options: Options, contract: Contract | None = None) -> None:
        self._options = options
        self._by_version: dict[str, ClientModel] = {}  # the current one last
        self._parked: ClientModel | None = None
        self.current: ClientModel | None = None
        if contract is not None:
            self.adopt(_client_model(contract, options))

    def read(self, document: bytes, etag: str = "") -> ClientModel:
        """Return the client model of a contract: the same again for an equal contract.

        etag: the service's for this document. Raises BadResponse for what is no
        contract.
        """
        try:
            contract = Contract.parse(document)
        except ValueError as error:
            raise BadResponse(str(error)) from None
        known = self._by_version.get(contract.version)
        if known is not None and known.contract == contract:
            client_model = known
        else:
            client_model = _client_model(contract, self._options)
            if known is not None:
                client_model.adopt(known)
        client_model.etag = etag or client_model.etag
        return client_model

    def adopt(self, client_model: ClientModel) -> bool:
        """Make a client model the current one; return whether it was not before."""
        old = self.current
        version = client_model.version
        if old is not None and old.version != version:
            log.info("version %s instead of %s", version, old.version)
        self._by_version.pop(version, None)
        self._by_version[version] = client_model
        while len(self._by_version) > _MOST_VERSIONS:
            del self._by_version[next(iter(self._by_version))]
        self.current = client_model
        return client_model is not old

    def park(self) -> None:
        """Put the current one aside: no row is found locally until `resume`.

        In the child of a fork, so that its first call connects, and new versions are
        checked for again.
        """
        self._parked = self.current or self._parked
        self.current = None

    def resume(self) -> None:
        """Make the model that was put aside current, unless another is."""
        self.current = self.current or self._parked


def _client_model(contract: Contract, options: Options) -> ClientModel:
    if contract.rows_together:
        return TogetherModel(contract, options)
    kind = EchoModel if contract.signature.echoes else ClientModel
    return kind(contract, options)
