"""Learns a model's contract, and checks for a new one.

Each response names the version that computed it. A version that is not the current one
starts a check in the background. Until its contract is known, rows are sent as they
came (not canonical: a new version may know more values), and the answers of the new
version are not kept.
"""

import asyncio
import logging

from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.client_models import ClientModels
from gomlx.client.metrics import ClientMetrics
from gomlx.client.network.mly import discover
from gomlx.client.network.sender import Sender
from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.errors import BadResponse, GomlxError, ModelNotFound

log = logging.getLogger("gomlx.client")

_MIN_INTERVAL = 1.0  # seconds between two checks
_LARGE_BYTES = 1 << 18  # a larger contract is not parsed on the event loop


class ContractRefresher:
    """Keeps the current client model up to date. For one event loop."""

    def __init__(
        self,
        path: str,
        sender: Sender,
        models: ClientModels,
        metrics: ClientMetrics,
        options: Options,
    ) -> None:
        self._path = path
        self._sender = sender
        self._models = models
        self._metrics = metrics
        self._options = options
        self._checked_at = float("-inf")  # on the loop's clock
        self._periodic: asyncio.Task[None] | None = None
        self._early: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn the model unless it is known, and check for new versions from now on.

        Raises as Sender.send does.
        """
        if self._models.current is None:
            await self._check(self._deadline())
        if self._options.refresh_seconds > 0:
            self._periodic = asyncio.create_task(self._check_periodically())

    async def close(self) -> None:
        """Stop checking."""
        tasks = [task for task in (self._periodic, self._early) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def note_version(self, version: str) -> None:
        """Note which version computed a response: check soon if it is another one."""
        current = self._models.current
        if current is None or version == current.version:
            return
        if self._early is None or self._early.done():
            now = asyncio.get_running_loop().time()
            pause = max(self._checked_at + _MIN_INTERVAL - now, 0)
            self._early = asyncio.create_task(self._check_after(pause))

    async def was_replaced(
        self,
        client_model: ClientModel,
        deadline: float,
        max_age_seconds: float = _MIN_INTERVAL,
    ) -> bool:
        """Return whether another client model is current by now, having checked.

        max_age_seconds: a check that is no older is not repeated. deadline: on the
        loop's clock.
        """
        if self._checked_at + max_age_seconds < asyncio.get_running_loop().time():
            try:
                await self._check(deadline)
            except GomlxError as error:
                log.info("no contract: %s", error)
        return self._models.current is not client_model

    async def _check_periodically(self) -> None:
        while True:
            await self._check_after(self._options.refresh_seconds)

    async def _check_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        try:
            await self._check(self._deadline())
        except GomlxError as error:
            self._metrics.refreshes["failed"] += 1
            log.warning("no contract: %s", error)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._options.timeout_seconds

    async def _check(self, deadline: float) -> None:
        """Request the contract if it has changed. Raises as Sender.send does."""
        self._checked_at = asyncio.get_running_loop().time()
        current = self._models.current
        headers = {"Accept-Encoding": "gzip"}
        if current is not None:
            headers["If-None-Match"] = current.etag
        request = Request(f"{self._path}/meta/contract", headers)
        try:
            response = await self._sender.send(request, _contract_response, deadline)
        except ModelNotFound as error:
            self._adopt(await self._from_mly(deadline, error))
            return
        if response.status == 304:
            self._metrics.refreshes["unchanged"] += 1
        else:
            self._adopt(await self._read(response))

    async def _read(self, response: Response) -> ClientModel:
        etag = response.headers.get("etag", "")
        if len(response.body) > _LARGE_BYTES:
            return await asyncio.to_thread(self._models.read, response.body, etag)
        return self._models.read(response.body, etag)

    async def _from_mly(self, deadline: float, not_found: ModelNotFound) -> ClientModel:
        """Return the model of an mly server. Raises not_found if it has none either."""
        try:
            found = await discover(self._sender, self._path, self._options, deadline)
        except ModelNotFound:
            raise not_found from None
        current = self._models.current
        is_known = current is not None and current.contract == found.contract
        return current if current and is_known else found

    def _adopt(self, client_model: ClientModel) -> None:
        is_new = self._models.adopt(client_model)
        self._metrics.refreshes["changed" if is_new else "unchanged"] += 1


def _contract_response(response: Response) -> Response:
    """Raise BadResponse for a body that is not a contract: another host is tried."""
    if response.status == 200 and not response.body.startswith(b'{"format":'):
        raise BadResponse("not a contract")
    return response
