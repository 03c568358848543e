"""The rows that are not known here: found in the shared tier, or asked of a host.

    fetch ─► flights          a row that is under way is waited for, not asked again
              └ _Load         the others: shared tier ─► requests, split at the limits

A load is a task of its own: who waits may leave, and the last one to leave ends it.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import orjson

from gomlx.client.answer import Entry, Origin
from gomlx.client.client_model import ClientModel
from gomlx.client.metrics import REDIS, SERVER, ClientMetrics
from gomlx.client.network.sender import Sender
from gomlx.client.network.shared import Shared
from gomlx.client.network.transport import Request, Response
from gomlx.contract.tensor import Row
from gomlx.errors import BadResponse, DeadlineExceeded, GomlxError, RunFailed, TooLarge

_HEADERS = {"Content-Type": "application/json"}
_GRACE = 0.25  # seconds: a load ends at its own deadline, and tells why
_HIT = re.compile(r"^gomlx; hit(?:; detail=(\w+))?")


class Wanted(NamedTuple):
    """A row that is not known here."""

    plain: tuple[Any, ...]
    canonical: Row


Flight = asyncio.Future[Entry]
_Wanted = Mapping[Hashable, Wanted]


class _Load:
    """Rows that are fetched together, and how many callers wait for any of them."""

    def __init__(self, deadline: float) -> None:
        self.waiters, self.deadline = 0, deadline
        self.task: asyncio.Task[None]

    def leave(self) -> None:
        self.waiters -= 1
        if not self.waiters:
            self.task.cancel()


_Flights = Collection[tuple[Flight, _Load]]


class Fetcher:
    """For one event loop. told is called with the version of every response."""

    def __init__(
        self,
        path: str,
        sender: Sender,
        shared: Shared | None,
        metrics: ClientMetrics,
        told: Callable[[str], None],
    ) -> None:
        self._path, self._sender, self._shared = path, sender, shared
        self._metrics, self._told = metrics, told
        self._flights: dict[tuple[str, Hashable], tuple[Flight, _Load]] = {}

    async def fetch(
        self, client_model: ClientModel, wanted: _Wanted, deadline: float
    ) -> dict[Hashable, Entry]:
        """Return the entry of every row; those of rows that failed hold the error.

        deadline: as the loop's clock has it. Raises DeadlineExceeded.
        """
        found: dict[Hashable, Entry] = {}
        loop = asyncio.get_running_loop()
        while wanted:
            joined = {
                key: flight
                for key in wanted
                if (flight := self._flights.get((client_model.version, key)))
            }
            new = {key: row for key, row in wanted.items() if key not in joined}
            started = self._start(client_model, new, deadline) if new else {}
            await _landed(joined.values(), started.values(), deadline)
            flights = joined | started
            for key, (future, _) in flights.items():
                found[key] = _outcome(future, client_model)
            # Others may have had less time than we.
            late = [k for k in joined if isinstance(found[k].error, DeadlineExceeded)]
            wanted = {k: wanted[k] for k in late} if loop.time() < deadline else {}
        return found

    def _start(
        self, client_model: ClientModel, wanted: _Wanted, deadline: float
    ) -> dict[Hashable, tuple[Flight, _Load]]:
        loop, load = asyncio.get_running_loop(), _Load(deadline)
        flights = {key: loop.create_future() for key in wanted}
        work = self._run(client_model, wanted, flights, deadline)
        load.task = loop.create_task(work)
        started = {key: (flight, load) for key, flight in flights.items()}
        for key, flight in started.items():
            self._flights[client_model.version, key] = flight
        load.task.add_done_callback(partial(self._end, client_model.version, flights))
        return started

    def _end(
        self,
        version: str,
        flights: Mapping[Hashable, Flight],
        task: "asyncio.Task[None]",
    ) -> None:
        bug = None if task.cancelled() else task.exception()
        for key, flight in flights.items():
            del self._flights[version, key]
            if flight.done():
                continue
            if bug:  # or a transport of somebody else's: those who wait are told
                flight.set_exception(bug)
            else:
                flight.cancel()

    async def _run(
        self,
        client_model: ClientModel,
        wanted: _Wanted,
        flights: Mapping[Hashable, Flight],
        deadline: float,
    ) -> None:
        rest = dict(wanted)
        if self._shared is not None and client_model.keeps:
            for key, entry in (await self._in_shared(client_model, wanted)).items():
                client_model.keep(key, rest.pop(key).plain, entry)
                flights[key].set_result(entry)
        if rest:
            await self._ask(client_model, rest, flights, deadline)

    async def _in_shared(
        self, client_model: ClientModel, wanted: _Wanted
    ) -> dict[Hashable, Entry]:
        assert self._shared is not None
        names = client_model.names([row.canonical for row in wanted.values()])
        values = await self._shared.get_many(names)
        origin = Origin(client_model.version, REDIS, True)
        found = {}
        for key, value in zip(wanted, values, strict=True):
            if value is None:
                self._metrics.lookups["miss"] += 1
            elif (entry := _shared_entry(client_model, value, origin)) is None:
                self._metrics.lookups["bad"] += 1
            else:
                self._metrics.lookups["hit"] += 1
                found[key] = entry
        self._metrics.row(REDIS, len(found))
        return found

    async def _ask(
        self,
        client_model: ClientModel,
        wanted: dict[Hashable, Wanted],
        flights: Mapping[Hashable, Flight],
        deadline: float,
    ) -> None:
        """Ask a host; what is too much for one request goes in halves."""
        contract = client_model.contract
        try:
            body = client_model.body([row.plain for row in wanted.values()])
            if len(wanted) > contract.max_rows or len(body) > contract.max_body_bytes:
                raise TooLarge(
                    f"a row of {len(body)} bytes is more than a request may be"
                )
            request = Request(f"{self._path}/eval", _HEADERS, body)
            read = partial(_entries, client_model, len(wanted))
            entries = await self._sender.send(request, read, deadline)
        except TooLarge as error:
            if len(wanted) == 1:
                self._fail(client_model, wanted, flights, error)
                return
            halves = _halves(wanted)
            async with asyncio.TaskGroup() as group:
                for half in halves:
                    group.create_task(self._ask(client_model, half, flights, deadline))
        except GomlxError as error:
            self._fail(client_model, wanted, flights, error)
        else:
            self._land(client_model, wanted, flights, entries)

    def _land(
        self,
        client_model: ClientModel,
        wanted: _Wanted,
        flights: Mapping[Hashable, Flight],
        entries: Sequence[Entry],
    ) -> None:
        self._metrics.row(SERVER, len(entries))
        version = entries[0].origin.version
        for (key, row), entry in zip(wanted.items(), entries, strict=True):
            # What another version gave must not be kept under this one's rows.
            if version == client_model.version:
                client_model.keep(key, row.plain, entry)
            flights[key].set_result(entry)
        self._told(version)

    def _fail(
        self,
        client_model: ClientModel,
        wanted: _Wanted,
        flights: Mapping[Hashable, Flight],
        error: GomlxError,
    ) -> None:
        entry = client_model.failed(error)
        for key, row in wanted.items():
            if len(wanted) == 1 and isinstance(error, RunFailed):
                client_model.keep(key, row.plain, entry)
            flights[key].set_result(entry)


async def _landed(joined: _Flights, started: _Flights, deadline: float) -> None:
    """Wait for flights, but no longer than the deadline."""
    ours = {load for _, load in started}
    loads = ours | {load for _, load in joined}
    for load in loads:
        load.waiters += 1
    try:
        left = max(deadline - asyncio.get_running_loop().time(), 0)
        if all(load.deadline <= deadline for load in loads):
            left += _GRACE
        # PERF: a call-back for each row would cost a twelfth of all.
        landing: list[asyncio.Future[Any]] = [flight for flight, _ in joined]
        landing += [load.task for load in ours]
        await asyncio.wait(landing, timeout=left)
    finally:
        for load in loads:
            load.leave()


def _outcome(flight: Flight, client_model: ClientModel) -> Entry:
    if flight.done() and not flight.cancelled():
        return flight.result()
    text = f"model {client_model.contract.model!r}: no answer in time"
    return client_model.failed(DeadlineExceeded(text))


def _halves(wanted: Mapping[Hashable, Wanted]) -> list[dict[Hashable, Wanted]]:
    items, middle = list(wanted.items()), len(wanted) // 2
    return [dict(items[:middle]), dict(items[middle:])]


def _shared_entry(
    client_model: ClientModel, value: bytes, origin: Origin
) -> Entry | None:
    """Read a value of the shared tier; None for what is no answer of the model."""
    try:
        if client_model.shared.is_answer(value):
            return client_model.reader.entry(value, origin, orjson.loads(value))
    except (KeyError, TypeError, ValueError):
        pass  # counted as bad: no row fails of what somebody wrote there
    return None


def _entries(client_model: ClientModel, size: int, response: Response) -> list[Entry]:
    """Read a response to so many rows. Raises BadResponse for what is none."""
    try:
        document = orjson.loads(response.body)
        version = client_model.version_of(response.headers, document)
        data = document["data"] if size > 1 else [document["data"]]
        if document["status"] != "ok" or not version:
            raise ValueError("no answer of a gomlx service")
        if type(data) is not list or len(data) != size:
            raise ValueError(f"not the answers of {size} rows")
        # Another version may have other outputs.
        if version == client_model.version and not all(
            map(client_model.shared.admits, data)
        ):
            raise ValueError("not the outputs of the model")
        origin = _origin(version, size, response.headers.get("cache-status", ""))
        return [
            client_model.reader.entry(orjson.dumps(one), origin, one) for one in data
        ]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        shown = response.body[:100].decode("utf-8", "replace")
        raise BadResponse(f"{error}: {shown}") from None


def _origin(version: str, size: int, cache_status: str) -> Origin:
    hit = _HIT.match(cache_status)
    if size > 1:
        return Origin(version, SERVER, hit is not None)
    return Origin(version, hit[1] or SERVER if hit else "model", hit is not None)
