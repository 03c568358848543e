"""The rows that are not known locally: each is fetched once for all its callers.

    Fetcher.fetch ─► loads under way     a row that is being fetched is joined
                     └ Loader.run        the others: shared tier ─► requests to hosts

A load is a task of its own, so a caller that is cancelled does not disturb the others.
"""

import asyncio
from collections.abc import Hashable, Iterable, Mapping
from typing import Any, Protocol

from gomlx.client.answer import AnswerEntry
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.rows import MissingRow
from gomlx.client.network.load import Load
from gomlx.errors import DeadlineExceeded

_GRACE_SECONDS = 0.25  # a load ends at its own deadline, with an error that says more


class LoadsRows(Protocol):
    """RowLoader, or one of a test."""

    async def run(self, load: Load) -> None:
        """End every flight of a load with an answer or with the error of its row."""


class Fetcher:
    """The loads that are under way. For one event loop."""

    def __init__(self, loader: LoadsRows) -> None:
        self._loader = loader
        self._loads: dict[tuple[str, Hashable], Load] = {}  # by version and row

    async def fetch(
        self,
        client_model: ClientModel,
        missing: Mapping[Hashable, MissingRow],
        deadline: float,
    ) -> dict[Hashable, AnswerEntry]:
        """Return the entry of every row; that of a row that failed holds its error.

        deadline: on the loop's clock. A row without an answer by then has failed with
        DeadlineExceeded.
        """
        found: dict[Hashable, AnswerEntry] = {}
        loop = asyncio.get_running_loop()
        while missing:
            joined = self._under_way(client_model.version, missing)
            new = {key: row for key, row in missing.items() if key not in joined}
            started = [self._start(client_model, new, deadline)] if new else []
            await _wait(joined, started, deadline)
            found |= {key: load.entry(key) for key, load in joined.items()}
            found |= {key: load.entry(key) for load in started for key in load.rows}
            # Their loads may have had an earlier deadline than this call has.
            late = [k for k in joined if isinstance(found[k].error, DeadlineExceeded)]
            missing = {k: missing[k] for k in late} if loop.time() < deadline else {}
        return found

    def _under_way(
        self, version: str, keys: Iterable[Hashable]
    ) -> dict[Hashable, Load]:
        loads = self._loads
        return {key: load for key in keys if (load := loads.get((version, key)))}

    def _start(
        self,
        client_model: ClientModel,
        rows: Mapping[Hashable, MissingRow],
        deadline: float,
    ) -> Load:
        load = Load(client_model, rows, deadline)
        for key in rows:
            self._loads[client_model.version, key] = load
        load.start(self._loader.run(load), self._forget)
        return load

    def _forget(self, load: Load) -> None:
        for key in load.rows:
            del self._loads[load.client_model.version, key]


async def _wait(
    joined: Mapping[Hashable, Load], started: Iterable[Load], deadline: float
) -> None:
    """Wait until the rows of loads have ended, but no longer than the deadline."""
    loads = {*joined.values(), *started}
    for load in loads:
        load.join()
    try:
        remaining = max(deadline - asyncio.get_running_loop().time(), 0)
        if all(load.deadline <= deadline for load in loads):
            remaining += _GRACE_SECONDS
        # The task of a load that was just started stands for all its rows: waiting for
        # each would add a call-back a row, a twelfth of all.
        pending: list[asyncio.Future[Any]] = [
            load.flights[key] for key, load in joined.items()
        ]
        pending += [load.task for load in started]
        await asyncio.wait(pending, timeout=remaining)
    finally:
        for load in loads:
            load.leave()
