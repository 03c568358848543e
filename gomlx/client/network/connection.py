"""What belongs to one event loop and one process; among it, who looks for new versions.

A response tells which version gave it. One that the client does not have starts a look
for a new contract in the background; until it is here, rows are sent as they came (not
canonical: another version may know more) and their answers are not kept.
"""

import asyncio
import logging
from typing import TYPE_CHECKING

from gomlx.client.client_model import ClientModel
from gomlx.client.network.fetch import Fetcher
from gomlx.client.network.hosts import Hosts
from gomlx.client.network.mly import discover
from gomlx.client.network.sender import Sender
from gomlx.client.network.shared import Shared
from gomlx.client.network.transport import Request, Response, Transport
from gomlx.errors import BadResponse, GomlxError, ModelNotFound

if TYPE_CHECKING:
    from gomlx.client.core import Core

log = logging.getLogger("gomlx.client")

_LOOK_AGAIN = 1.0  # seconds between two looks for a new version, at least
_LARGE = 1 << 18  # bytes of a contract that is not read on the loop


class Connection:
    """The ways to the hosts and to the shared tier, and the tasks that run beside."""

    def __init__(
        self, core: "Core", transport: Transport, shared: Shared | None
    ) -> None:
        self._core, self._transport, self._shared = core, transport, shared
        hosts = Hosts(core.hosts)
        self._sender = Sender(hosts, transport, core.metrics, core.options.hedge)
        self.fetcher = Fetcher(
            core.path, self._sender, shared, core.metrics, self._told
        )
        self._looking: asyncio.Task[bool] | None = None
        self._looked = float("-inf")  # when, on the loop's clock
        self._refreshing: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn the model, and look for new versions from now on."""
        options = self._core.options
        if self._core.client_model is None:
            loop = asyncio.get_running_loop()
            await self._look(loop.time() + options.timeout_seconds)
        if options.refresh_seconds > 0:
            self._refreshing = asyncio.create_task(self._refresh())

    async def close(self) -> None:
        """End what runs beside, and let go of connections."""
        tasks = [task for task in (self._refreshing, self._looking) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._transport.close()
        if self._shared:
            await self._shared.close()

    async def is_outdated(
        self, client_model: ClientModel, deadline: float, since: float = _LOOK_AGAIN
    ) -> bool:
        """True when there is another version than a call began with.

        since: for so many seconds after a look there is not another one.
        """
        if self._looked + since < asyncio.get_running_loop().time():
            try:
                await self._look(deadline)
            except GomlxError as error:
                log.info("no contract: %s", error)
        return self._core.client_model is not client_model

    def _told(self, version: str) -> None:
        """Note which version gave a response."""
        client_model = self._core.client_model
        if client_model is None or version == client_model.version:
            return
        if self._looking is None or self._looking.done():
            now = asyncio.get_running_loop().time()
            wait = max(self._looked + _LOOK_AGAIN - now, 0)
            self._looking = asyncio.create_task(self._look_soon(wait))

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self._core.options.refresh_seconds)
            await self._look_soon(0)

    async def _look_soon(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        try:
            loop = asyncio.get_running_loop()
            await self._look(loop.time() + self._core.options.timeout_seconds)
        except GomlxError as error:
            self._core.metrics.refreshes["failed"] += 1
            log.warning("no contract: %s", error)
            return False
        return True

    async def _look(self, deadline: float) -> None:
        """Ask for the contract, if it is another one. Raises as Sender.send does."""
        core = self._core
        self._looked = asyncio.get_running_loop().time()
        headers = {"Accept-Encoding": "gzip"}
        if core.client_model is not None:
            headers["If-None-Match"] = core.client_model.tag
        request = Request(f"{core.path}/meta/contract", headers)
        try:
            response = await self._sender.send(request, _checked, deadline)
        except ModelNotFound as error:
            await self._look_at_mly(deadline, error)
            return
        if response.status == 304:
            core.metrics.refreshes["unchanged"] += 1
            return
        told = response.body, response.headers.get("etag", "")
        if len(response.body) > _LARGE:
            client_model = await asyncio.to_thread(core.read, *told)
        else:
            client_model = core.read(*told)
        is_new = client_model is not core.client_model
        core.adopt(client_model)
        core.metrics.refreshes["changed" if is_new else "unchanged"] += 1

    async def _look_at_mly(self, deadline: float, error: ModelNotFound) -> None:
        """Learn the model as mly tells it; raise the error if it has none either."""
        core = self._core
        try:
            client_model = await discover(
                self._sender, core.path, core.options, deadline
            )
        except ModelNotFound:
            raise error from None
        is_new = (
            core.client_model is None
            or core.client_model.contract != client_model.contract
        )
        if is_new:
            core.adopt(client_model)
        core.metrics.refreshes["changed" if is_new else "unchanged"] += 1


def _checked(response: Response) -> Response:
    """Raise BadResponse for what is no contract, so that another host is asked."""
    if response.status == 200 and not response.body.startswith(b'{"format":'):
        raise BadResponse("not a contract")
    return response
