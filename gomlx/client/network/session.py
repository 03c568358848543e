"""A client's session with its hosts: what belongs to one event loop and one process."""

from typing import NamedTuple

from gomlx.client.local.client_models import ClientModels
from gomlx.client.metrics import ClientMetrics
from gomlx.client.network.contract_refresher import ContractRefresher
from gomlx.client.network.fetcher import Fetcher
from gomlx.client.network.hosts import Hosts
from gomlx.client.network.row_loader import RowLoader
from gomlx.client.network.sender import Sender
from gomlx.client.network.shared_reader import SharedReader
from gomlx.client.network.transport import Transport
from gomlx.client.options import Options


class ModelAddress(NamedTuple):
    """Where a model is served: its name, and the URLs of the hosts."""

    model: str
    hosts: list[str]

    @property
    def path(self) -> str:
        return f"/v1/api/model/{self.model}"


class Session:
    """Ways to the hosts and to the shared tier, and the tasks in the background.

    refresher learns contracts; fetcher gets the answers of rows that are not known.
    """

    def __init__(
        self,
        address: ModelAddress,
        models: ClientModels,
        transport: Transport,
        shared: SharedReader | None,
        metrics: ClientMetrics,
        options: Options,
    ) -> None:
        self._transport = transport
        self._shared = shared
        sender = Sender(Hosts(address.hosts), transport, metrics, options.hedge)
        self.refresher = ContractRefresher(
            address.path, sender, models, metrics, options
        )
        loader = RowLoader(
            address.path, sender, shared, metrics, self.refresher.note_version
        )
        self.fetcher = Fetcher(loader)

    async def start(self) -> None:
        """Learn the model, and check for new versions from now on."""
        await self.refresher.start()

    async def close(self) -> None:
        """End the tasks in the background, and close connections."""
        await self.refresher.close()
        await self._transport.close()
        if self._shared:
            await self._shared.close()
