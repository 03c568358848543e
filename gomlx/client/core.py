"""What both clients share: the local look-up of rows, and how others are answered.

    lookup, lookup_many   any thread: rows that are kept as they came; no lock, no I/O
    answers               the event loop: check ─► lookup ─► fetch ─► join in order

All else that belongs to the event loop is in its Session.
"""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from gomlx.client.answer import (
    Answer,
    AnswerEntry,
    furthest_tier,
    raise_first_error,
)
from gomlx.client.columns import InputColumns, columns_of_row
from gomlx.client.forks import never_destroy
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.client_models import ClientModels
from gomlx.client.metrics import LOCAL, SERVER, ClientMetrics
from gomlx.client.network.hosts import address
from gomlx.client.network.session import ModelAddress, Session
from gomlx.client.network.shared_reader import SharedReader
from gomlx.client.network.transport import Transport
from gomlx.client.options import Options
from gomlx.client.request_id import named
from gomlx.contract.document import Contract
from gomlx.errors import ConnectionFailed, InvalidInput


class Core:
    """One model of some hosts. session is None while the client is not connected."""

    def __init__(
        self,
        model: str,
        hosts: Sequence[str],
        contract: Contract | None,
        options: Options,
    ) -> None:
        self.address = ModelAddress(model, [*map(address, hosts)])
        if not self.address.hosts:
            raise ValueError("a client needs at least one host")
        self.options = options
        self.metrics = ClientMetrics()
        self.models = ClientModels(options, contract)
        self.session: Session | None = None

    # --- any thread ---

    def lookup(self, row: Mapping[str, Any]) -> Answer | None:
        """Return the answer of a row if it is kept as it came."""
        started = perf_counter()
        client_model = self.models.current
        if client_model is None:
            return None
        entry = client_model.lookup(row, started)
        if entry is None:
            return None
        metrics = self.metrics
        seconds = perf_counter() - started
        metrics.local_rows += 1
        metrics.local.add(seconds)
        return client_model.reader.answer(entry, seconds)

    def lookup_many(self, inputs: InputColumns) -> list[Answer] | None:
        """Return the answers of rows if all are kept as they came."""
        started = perf_counter()
        client_model = self.models.current
        if client_model is None:
            return None
        entries = client_model.lookup_many(inputs, started)
        if entries is None:
            return None
        metrics = self.metrics
        seconds = perf_counter() - started
        metrics.local_rows += inputs.size
        metrics.local.add(seconds)
        answer = client_model.reader.answer
        return [answer(entry, seconds) for entry in entries]

    def park(self) -> None:
        """Disconnect in the child of a fork, whose parent keeps its session."""
        never_destroy(self.session)
        self.session = None
        self.models.park()

    def resume(self) -> None:
        """Find locally again what was known before a fork."""
        self.models.resume()

    # --- the event loop ---

    async def start(self, transport: Transport, shared: SharedReader | None) -> None:
        """Learn the model, and check for new versions from now on."""
        self.session = Session(
            self.address, self.models, transport, shared, self.metrics, self.options
        )
        await self.session.start()

    async def close(self) -> None:
        """Close connections; what is known locally stays."""
        session = self.session
        self.session = None
        if session:
            await session.close()

    async def answers(
        self,
        inputs: InputColumns,
        timeout_seconds: float | None,
        request_id: str | None = None,
    ) -> list[Answer]:
        """Return the answers of a request. Raises as `Client.predict` does."""
        with named(request_id):
            return await self._answers(inputs, timeout_seconds)

    async def _answers(
        self, inputs: InputColumns, timeout_seconds: float | None
    ) -> list[Answer]:
        if not inputs.size:
            return []
        started = perf_counter()
        loop = asyncio.get_running_loop()
        timeout = (
            self.options.timeout_seconds if timeout_seconds is None else timeout_seconds
        )
        outcome = "ok"
        tier = LOCAL
        try:
            client_model, entries = await self._answered(inputs, loop.time() + timeout)
            tier = furthest_tier(entries)
            elapsed = perf_counter() - started
            return client_model.answers(entries, elapsed)
        except BaseException as error:
            outcome = type(error).__name__
            tier = SERVER
            raise
        finally:
            self.metrics.add_call(outcome, tier, perf_counter() - started)

    @property
    def answers_together(self) -> bool:
        """Whether the question is a whole request, not each of its rows."""
        return self._current.contract.rows_together

    def is_valid(self, row: Any) -> bool:
        """Return whether a row fits the current version."""
        try:
            self._current.rows(columns_of_row(row))
        except InvalidInput:
            return False
        return True

    async def _answered(
        self, inputs: InputColumns, deadline: float
    ) -> tuple[ClientModel, list[AnswerEntry]]:
        """Return an entry a row, all of one version if two attempts give that."""
        entries: list[AnswerEntry] = []
        client_model = self._current
        for is_last in (False, True):
            client_model = self._current
            try:
                entries = await self._entries(client_model, inputs, deadline)
            except InvalidInput:
                # It may be valid for a version that is not known yet.
                if is_last or not await self._connected.refresher.was_replaced(
                    client_model, deadline
                ):
                    raise
                continue
            if len({entry.origin.version for entry in entries}) == 1:
                break
            await self._connected.refresher.was_replaced(
                client_model, deadline, max_age_seconds=0.0
            )
        return client_model, entries

    async def _entries(
        self, client_model: ClientModel, inputs: InputColumns, deadline: float
    ) -> list[AnswerEntry]:
        """Return an entry a row. Raises the error of the first row that failed."""
        rows = client_model.rows(inputs)
        found = client_model.lookup_rows(rows, perf_counter())
        missing = rows.without(found)
        self.metrics.add_rows(LOCAL, sum(key in found for key in rows.keys))
        if missing:
            found |= await self._connected.fetcher.fetch(
                client_model, missing, deadline
            )
        entries = [found[key] for key in rows.keys]
        raise_first_error(entries)
        return entries

    @property
    def _current(self) -> ClientModel:
        assert self.models.current is not None  # the client has been started
        return self.models.current

    @property
    def _connected(self) -> Session:
        if self.session is None:  # it was there when the call began
            raise ConnectionFailed("the client was closed meanwhile")
        return self.session
