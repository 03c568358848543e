"""What both clients share: a model's editions, and how a question becomes answers.

    find, find_many    any thread: rows that are known here; no lock, no I/O
    answers            the event loop: check ─► known ─► fetch ─► join in order
    refresh            the event loop: a new version? its edition replaces the old one

A response tells which version gave it. One that the client does not have starts a look
for a new contract in the background; until it is here, rows are sent as they came (not
canonical: another version may know more) and their answers are not kept.
"""

import asyncio
import logging
from collections.abc import Hashable, Mapping, Sequence
from time import perf_counter
from typing import Any

from gomlx.client.answer import Answer, Entry, furthest, raise_first
from gomlx.client.columns import Asked, one_row
from gomlx.client.edition import Edition, Rows
from gomlx.client.fetch import Fetcher, Wanted
from gomlx.client.hosts import Hosts
from gomlx.client.metrics import LOCAL, SERVER, Metrics
from gomlx.client.mly import discover
from gomlx.client.options import Options
from gomlx.client.sender import Sender
from gomlx.client.shared import Shared
from gomlx.client.transport import Request, Response, Transport
from gomlx.contract.document import Contract
from gomlx.errors import BadResponse, GomlxError, InvalidInput, ModelNotFound

log = logging.getLogger("gomlx.client")

_LOOK_AGAIN = 1.0  # seconds between two looks for a new version, at least
_EDITIONS = 2
_LARGE = 1 << 18  # bytes of a contract that is not read on the loop


class Connection:
    """What belongs to one event loop and one process."""

    def __init__(
        self, core: "Core", transport: Transport, shared: Shared | None
    ) -> None:
        self.transport, self.shared = transport, shared
        hosts = Hosts(core.hosts)
        self.sender = Sender(hosts, transport, core.metrics, core.options.hedge)
        self.fetcher = Fetcher(core.path, self.sender, shared, core.metrics, core.told)
        self.looking: asyncio.Task[bool] | None = None
        self.looked = float("-inf")  # when, on the loop's clock
        self.refreshing: asyncio.Task[None] | None = None

    async def close(self) -> None:
        tasks = [task for task in (self.refreshing, self.looking) if task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.transport.close()
        if self.shared:
            await self.shared.close()


class Core:
    """One model. edition is None before the first contract is here."""

    def __init__(
        self,
        model: str,
        hosts: Sequence[str],
        contract: Contract | None,
        options: Options,
    ) -> None:
        self.hosts, self.options = list(hosts), options
        self.path = f"/v1/api/model/{model}"
        self.metrics = Metrics()
        self.edition: Edition | None = None
        self._editions: dict[str, Edition] = {}
        self.connection: Connection | None = None
        if contract is not None:
            self._adopt(Edition(contract, options))

    # --- any thread ---

    def find(self, row: Mapping[str, Any]) -> Answer | None:
        """Return the answer of a row that is known here as it is."""
        started = perf_counter()
        edition = self.edition
        if edition is None:
            return None
        entry = edition.known(row, started)
        if entry is None:
            return None
        metrics = self.metrics
        seconds = perf_counter() - started
        metrics.local_rows += 1
        metrics.local.add(seconds)
        return edition.answer(entry, seconds)

    def find_many(self, asked: Asked) -> list[Answer] | None:
        """Return the answers of rows that are all known here as they are."""
        started = perf_counter()
        edition = self.edition
        if edition is None:
            return None
        entries = edition.known_many(asked, started)
        if entries is None:
            return None
        metrics = self.metrics
        seconds = perf_counter() - started
        metrics.local_rows += asked.size
        metrics.local.add(seconds)
        answer = edition.answer
        return [answer(entry, seconds) for entry in entries]

    # --- the event loop ---

    async def start(self, transport: Transport, shared: Shared | None) -> None:
        """Learn the model, and look for new versions from now on."""
        self.connection = connection = Connection(self, transport, shared)
        if self.edition is None:
            loop = asyncio.get_running_loop()
            await self._look(loop.time() + self.options.timeout_seconds)
        if self.options.refresh_seconds > 0:
            connection.refreshing = asyncio.create_task(self._refresh())

    async def close(self) -> None:
        """Let go of connections; what is known stays."""
        connection, self.connection = self.connection, None
        if connection:
            await connection.close()

    async def answers(self, asked: Asked, seconds: float | None) -> list[Answer]:
        """Answer a question. Raises what `Client.predict` says."""
        if not asked.size:
            return []
        started, loop = perf_counter(), asyncio.get_running_loop()
        timeout = self.options.timeout_seconds if seconds is None else seconds
        outcome, tier = "ok", LOCAL
        try:
            entries, edition = await self._answered(asked, loop.time() + timeout)
            tier = furthest(entries)
            took = perf_counter() - started
            return [edition.answer(entry, took) for entry in entries]
        except BaseException as error:
            outcome, tier = type(error).__name__, SERVER
            raise
        finally:
            self.metrics.call(outcome, tier, perf_counter() - started)

    def admits(self, row: Any) -> bool:
        """Return whether a row fits the model as it is known here."""
        try:
            self._current.rows(one_row(row))
        except InvalidInput:
            return False
        return True

    async def _answered(
        self, asked: Asked, deadline: float
    ) -> tuple[list[Entry], Edition]:
        """Return an entry a row, all of one version if that can be had."""
        entries: list[Entry] = []
        edition = self._current
        for is_last in (False, True):
            edition = self._current
            try:
                entries = await self._entries(edition, edition.rows(asked), deadline)
                raise_first(entries)
            except InvalidInput:
                # It may be valid for a version that we do not know yet.
                if is_last or not await self._is_outdated(
                    edition, deadline, _LOOK_AGAIN
                ):
                    raise
                continue
            if len({entry.origin.version for entry in entries}) == 1:
                break
            await self._is_outdated(edition, deadline, 0.0)
        return entries, edition

    @property
    def _current(self) -> Edition:
        assert self.edition is not None  # the client has been started
        return self.edition

    async def _entries(
        self, edition: Edition, rows: Rows, deadline: float
    ) -> list[Entry]:
        found = edition.find(rows, perf_counter())
        triples = zip(rows.keys, rows.plain, rows.canonical, strict=True)
        wanted: dict[Hashable, Wanted] = {
            key: Wanted(plain, canonical)
            for key, plain, canonical in triples
            if key not in found
        }
        self.metrics.row(LOCAL, sum(key in found for key in rows.keys))
        if wanted:
            assert self.connection is not None
            found |= await self.connection.fetcher.fetch(edition, wanted, deadline)
        return [found[key] for key in rows.keys]

    def told(self, version: str) -> None:
        """Note which version gave a response."""
        connection, edition = self.connection, self.edition
        if connection is None or edition is None or version == edition.version:
            return
        loop = asyncio.get_running_loop()
        if connection.looking is None or connection.looking.done():
            wait = max(connection.looked + _LOOK_AGAIN - loop.time(), 0)
            connection.looking = asyncio.create_task(self._look_soon(wait))

    async def _is_outdated(
        self, edition: Edition, deadline: float, since: float
    ) -> bool:
        """True when there is another version than a call began with.

        since: for so many seconds after a look there is not another one.
        """
        loop, connection = asyncio.get_running_loop(), self.connection
        assert connection is not None
        if connection.looked + since < loop.time():
            try:
                await self._look(deadline)
            except GomlxError as error:
                log.info("no contract: %s", error)
        return self.edition is not edition

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(self.options.refresh_seconds)
            await self._look_soon(0)

    async def _look_soon(self, seconds: float) -> bool:
        await asyncio.sleep(seconds)
        try:
            loop = asyncio.get_running_loop()
            await self._look(loop.time() + self.options.timeout_seconds)
        except GomlxError as error:
            self.metrics.refreshes["failed"] += 1
            log.warning("no contract: %s", error)
            return False
        return True

    async def _look(self, deadline: float) -> None:
        """Ask for the contract, if it is another one. Raises as Sender.send does."""
        connection = self.connection
        assert connection is not None
        connection.looked = asyncio.get_running_loop().time()
        headers = {"Accept-Encoding": "gzip"}
        if self.edition is not None:
            headers["If-None-Match"] = f'"{self.edition.version}"'
        request = Request(f"{self.path}/meta/contract", headers)
        try:
            response = await connection.sender.send(request, _checked, deadline)
        except ModelNotFound as error:
            await self._look_at_mly(connection.sender, deadline, error)
            return
        if response.status == 304:
            self.metrics.refreshes["unchanged"] += 1
            return
        if len(response.body) > _LARGE:
            edition = await asyncio.to_thread(self._read, response.body)
        else:
            edition = self._read(response.body)
        self._adopt(edition)
        self.metrics.refreshes["changed"] += 1

    async def _look_at_mly(
        self, sender: Sender, deadline: float, error: ModelNotFound
    ) -> None:
        """Learn the model as mly tells it; raise the error if it has none either."""
        try:
            edition = await discover(sender, self.path, self.options, deadline)
        except ModelNotFound:
            raise error from None
        is_new = self.edition is None or self.edition.contract != edition.contract
        if is_new:
            self._adopt(edition)
        self.metrics.refreshes["changed" if is_new else "unchanged"] += 1

    def _read(self, body: bytes) -> Edition:
        try:
            contract = Contract.parse(body)
        except ValueError as error:
            raise BadResponse(str(error)) from None
        known = self._editions.get(contract.version)
        return known or Edition(contract, self.options)

    def _adopt(self, edition: Edition) -> None:
        """Make an edition the current one; the one before it stays, for a way back."""
        if self.edition is not None and self.edition is not edition:
            log.info("version %s instead of %s", edition.version, self.edition.version)
        self._editions.pop(edition.version, None)
        self._editions[edition.version] = edition
        while len(self._editions) > _EDITIONS:
            del self._editions[next(iter(self._editions))]
        self.edition = edition


def _checked(response: Response) -> Response:
    """Raise BadResponse for what is no contract, so that another host is asked."""
    if response.status == 200 and not response.body.startswith(b'{"format":'):
        raise BadResponse("not a contract")
    return response
