"""Fetches the rows of a load: from the shared tier, and the others from a host."""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from functools import partial

from gomlx.client.answer import AnswerEntry
from gomlx.client.local.rows import MissingRow
from gomlx.client.metrics import REDIS, SERVER, ClientMetrics
from gomlx.client.network.answer_responses import entries_of_response, shared_entry
from gomlx.client.network.load import Load
from gomlx.client.network.sender import Sender
from gomlx.client.network.shared_reader import SharedReader
from gomlx.client.network.transport import Request
from gomlx.contract.halving import halves
from gomlx.errors import GomlxError, RunFailed, TooLarge

_HEADERS = {"Content-Type": "application/json"}
_Rows = Mapping[Hashable, MissingRow]


class RowLoader:
    """Fetches the rows of loads, and ends their flights. For one event loop.

    on_version is called with the version of every response.
    """

    def __init__(
        self,
        path: str,
        sender: Sender,
        shared: SharedReader | None,
        metrics: ClientMetrics,
        on_version: Callable[[str], None],
    ) -> None:
        self._path = path
        self._sender = sender
        self._shared = shared
        self._metrics = metrics
        self._on_version = on_version

    async def run(self, load: Load) -> None:
        """End every flight of a load with an answer or with the error of its row."""
        missing = dict(load.rows)
        if self._shared is not None and load.client_model.keeps_answers:
            for key, entry in (await self._look_up(self._shared, load)).items():
                del missing[key]
                load.keep(key, entry)
        if missing:
            await self._request(load, missing)

    async def _look_up(
        self, shared: SharedReader, load: Load
    ) -> dict[Hashable, AnswerEntry]:
        """Return the entries of rows that the shared tier has, and count all rows."""
        canonical = [row.canonical for row in load.rows.values()]
        values = await shared.get_many(load.client_model.shared_names(canonical))
        space = load.client_model.space(load.rows)
        found = {}
        for key, value in zip(load.rows, values, strict=True):
            if value is None:
                self._metrics.lookups["miss"] += 1
            elif (entry := shared_entry(load.client_model, space, key, value)) is None:
                self._metrics.lookups["bad"] += 1
            else:
                self._metrics.lookups["hit"] += 1
                found[key] = entry
        self._metrics.add_rows(REDIS, len(found))
        return found

    async def _request(self, load: Load, rows: _Rows) -> None:
        """Request rows of a host; those that are too many for one request in halves."""
        try:
            entries = await self._response(load, rows)
        except TooLarge as error:
            if len(rows) == 1:
                self._fail(load, rows, error)
                return
            async with asyncio.TaskGroup() as group:
                for half in halves(list(rows.items())):
                    group.create_task(self._request(load, dict(half)))
        except GomlxError as error:
            self._fail(load, rows, error)
        else:
            self._settle(load, rows, entries)

    async def _response(self, load: Load, rows: _Rows) -> list[AnswerEntry]:
        """Return an entry a row. Raises TooLarge, or as Sender.send does."""
        contract = load.client_model.contract
        body = load.client_model.request_body([row.plain for row in rows.values()])
        if len(rows) > contract.max_rows or len(body) > contract.max_body_bytes:
            raise TooLarge(f"a row of {len(body)} bytes is more than a request may be")
        request = Request(f"{self._path}/eval", _HEADERS, body)
        read = partial(entries_of_response, load.client_model, rows)
        return await self._sender.send(request, read, load.deadline)

    def _settle(self, load: Load, rows: _Rows, entries: list[AnswerEntry]) -> None:
        self._metrics.add_rows(SERVER, len(entries))
        version = entries[0].origin.version
        # An answer of another version must not be kept for a row of this one.
        settle = load.keep if version == load.client_model.version else load.settle
        for key, entry in zip(rows, entries, strict=True):
            settle(key, entry)
        self._on_version(version)

    def _fail(self, load: Load, rows: _Rows, error: GomlxError) -> None:
        entry = load.client_model.failed(error)
        # Only an error that is surely this row's is kept.
        is_kept = len(rows) == 1 and isinstance(error, RunFailed)
        settle = load.keep if is_kept else load.settle
        for key in rows:
            settle(key, entry)
