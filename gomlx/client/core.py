"""What both clients share: a model's editions, and how a question becomes answers.

    find, find_many    any thread: rows that are known here; no lock, no I/O
    answers            the event loop: check ─► known ─► fetch ─► join in order

All else that belongs to the event loop is in its connection.
"""

import asyncio
import logging
from collections.abc import Hashable, Mapping, Sequence
from time import perf_counter
from typing import Any

from gomlx.client.answer import Answer, Entry, furthest, raise_first
from gomlx.client.client_model import ClientModel, Rows
from gomlx.client.columns import Columns, one_row
from gomlx.client.forks import leave_alone
from gomlx.client.metrics import LOCAL, SERVER, ClientMetrics
from gomlx.client.network.connection import Connection
from gomlx.client.network.fetch import Wanted
from gomlx.client.network.hosts import address
from gomlx.client.network.shared import Shared
from gomlx.client.network.transport import Transport
from gomlx.client.options import Options
from gomlx.contract.document import Contract
from gomlx.errors import BadResponse, ConnectionFailed, InvalidInput

log = logging.getLogger("gomlx.client")

_CLIENT_MODELS = 2


class Core:
    """One model. edition is None before the first contract is here."""

    def __init__(
        self,
        model: str,
        hosts: Sequence[str],
        contract: Contract | None,
        options: Options,
    ) -> None:
        self.hosts, self.options = list(map(address, hosts)), options
        if not self.hosts:
            raise ValueError("a client needs at least one host")
        self.path = f"/v1/api/model/{model}"
        self.metrics = ClientMetrics()
        self.client_model: ClientModel | None = None
        self._client_models: dict[str, ClientModel] = {}
        self._parked: ClientModel | None = None
        self.connection: Connection | None = None
        if contract is not None:
            self.adopt(ClientModel(contract, options))

    # --- any thread ---

    def find(self, row: Mapping[str, Any]) -> Answer | None:
        """Return the answer of a row that is known here as it is."""
        started = perf_counter()
        client_model = self.client_model
        if client_model is None:
            return None
        entry = client_model.known(row, started)
        if entry is None:
            return None
        metrics = self.metrics
        seconds = perf_counter() - started
        metrics.local_rows += 1
        metrics.local.add(seconds)
        return client_model.answer(entry, seconds)

    def find_many(self, asked: Columns) -> list[Answer] | None:
        """Return the answers of rows that are all known here as they are."""
        started = perf_counter()
        client_model = self.client_model
        if client_model is None:
            return None
        entries = client_model.known_many(asked, started)
        if entries is None:
            return None
        metrics = self.metrics
        seconds = perf_counter() - started
        metrics.local_rows += asked.size
        metrics.local.add(seconds)
        answer = client_model.answer
        return [answer(entry, seconds) for entry in entries]

    def park(self) -> None:
        """Begin anew in the child of a fork; keep what is known.

        Without an edition nothing is found locally, so the first call connects, and
        new versions are looked for again.
        """
        leave_alone(self.connection)
        self.connection = None
        self._parked, self.client_model = self.client_model or self._parked, None

    def resume(self) -> None:
        """Find again what was known before a fork."""
        self.client_model = self.client_model or self._parked

    # --- the event loop ---

    async def start(self, transport: Transport, shared: Shared | None) -> None:
        """Learn the model, and look for new versions from now on."""
        self.connection = Connection(self, transport, shared)
        await self.connection.start()

    async def close(self) -> None:
        """Let go of connections; what is known stays."""
        connection, self.connection = self.connection, None
        if connection:
            await connection.close()

    async def answers(self, asked: Columns, seconds: float | None) -> list[Answer]:
        """Answer a question. Raises what `Client.predict` says."""
        if not asked.size:
            return []
        started, loop = perf_counter(), asyncio.get_running_loop()
        timeout = self.options.timeout_seconds if seconds is None else seconds
        outcome, tier = "ok", LOCAL
        try:
            entries, client_model = await self._answered(asked, loop.time() + timeout)
            tier = furthest(entries)
            took = perf_counter() - started
            return [client_model.answer(entry, took) for entry in entries]
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
        self, asked: Columns, deadline: float
    ) -> tuple[list[Entry], ClientModel]:
        """Return an entry a row, all of one version if that can be had."""
        entries: list[Entry] = []
        client_model = self._current
        for is_last in (False, True):
            client_model = self._current
            try:
                entries = await self._entries(
                    client_model, client_model.rows(asked), deadline
                )
                raise_first(entries)
            except InvalidInput:
                # It may be valid for a version that we do not know yet.
                if is_last or not await self._connected.is_outdated(
                    client_model, deadline
                ):
                    raise
                continue
            if len({entry.origin.version for entry in entries}) == 1:
                break
            await self._connected.is_outdated(client_model, deadline, since=0.0)
        return entries, client_model

    @property
    def _current(self) -> ClientModel:
        assert self.client_model is not None  # the client has been started
        return self.client_model

    @property
    def _connected(self) -> Connection:
        if self.connection is None:  # it was there when the call began
            raise ConnectionFailed("the client was closed meanwhile")
        return self.connection

    async def _entries(
        self, client_model: ClientModel, rows: Rows, deadline: float
    ) -> list[Entry]:
        found = client_model.find(rows, perf_counter())
        triples = zip(rows.keys, rows.plain, rows.canonical, strict=True)
        wanted: dict[Hashable, Wanted] = {
            key: Wanted(plain, canonical)
            for key, plain, canonical in triples
            if key not in found
        }
        self.metrics.row(LOCAL, sum(key in found for key in rows.keys))
        if wanted:
            found |= await self._connected.fetcher.fetch(client_model, wanted, deadline)
        return [found[key] for key in rows.keys]

    def read(self, body: bytes, tag: str = "") -> ClientModel:
        """Return the edition of a contract. Raises BadResponse for what is none.

        tag: what the service tells it apart by from others.
        """
        try:
            contract = Contract.parse(body)
        except ValueError as error:
            raise BadResponse(str(error)) from None
        client_model = known = self._client_models.get(contract.version)
        if client_model is None or client_model.contract != contract:
            client_model = ClientModel(contract, self.options)
            if known is not None:
                client_model.take_over(known)
        client_model.tag = tag or client_model.tag
        return client_model

    def adopt(self, client_model: ClientModel) -> None:
        """Make an edition the current one; the one before it stays, for a way back."""
        old = (
            self.client_model.version
            if self.client_model is not None
            else client_model.version
        )
        if old != client_model.version:
            log.info("version %s instead of %s", client_model.version, old)
        self._client_models.pop(client_model.version, None)
        self._client_models[client_model.version] = client_model
        while len(self._client_models) > _CLIENT_MODELS:
            del self._client_models[next(iter(self._client_models))]
        self.client_model = client_model
