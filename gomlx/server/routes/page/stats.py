"""/v1/api/stats: what a service does now, and did in the last quarter of an hour."""

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import falcon.asgi
import orjson

from gomlx.metrics.history import PERIOD_SECONDS, RecentPoints
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current
from gomlx.models.version import model_of
from gomlx.server.routes.health import Health
from gomlx.server.routes.page.points import Json, bounds, point
from gomlx.server.routes.response import send_json_packed
from gomlx.server.routes.shared import SharedWork


class Stats:
    """The statistics of all workers of a host. For the event loop.

    datastores returns what each one holds. stores: the datastore of each model, or
    None. The points of the last minutes are kept in history: by one worker, whose
    `keep` runs.
    """

    def __init__(
        self,
        health: Health,
        current: Current,
        metrics: Metrics,
        datastores: Callable[[], Json],
        stores: Mapping[str, str | None],
        history: RecentPoints,
    ) -> None:
        self._health = health
        self._current = current
        self._metrics = metrics
        self._datastores = datastores
        self._stores = stores
        self._history = history
        self._documents = SharedWork(self._document)

    async def document(self) -> bytes:
        """Return the JSON of how things are now."""
        return await self._documents.result()

    async def document_with_history(self) -> bytes:
        """Return the same with the points of the last quarter of an hour."""
        body = await self.document()
        lines = await asyncio.to_thread(self._history.lines)
        return b'%b,"history":[%b]}' % (body[:-1], b",".join(lines))

    async def keep(self) -> None:
        """Add a point to the history, again and again."""
        while True:
            line = await asyncio.to_thread(self._point, [*self._current.names])
            await asyncio.to_thread(self._history.add, line)
            await asyncio.sleep(PERIOD_SECONDS)

    async def _document(self) -> bytes:
        self._metrics.flush()
        state = self._state()
        names = [*self._current.names]
        now, missed = await asyncio.to_thread(self._read, names, self._versions())
        for name, sample in missed.items():
            state["models"][name]["missed"] = sample
        return b'%b,"now":%b}' % (orjson.dumps(state)[:-1], now)

    def _versions(self) -> dict[str, str]:
        lives = {name: self._current.get(name) for name in self._current.names}
        return {name: live.digest for name, live in lives.items() if live is not None}

    def _read(
        self, names: list[str], versions: dict[str, str]
    ) -> tuple[bytes, dict[str, Json]]:
        """Return a point, and the samples of what has missed. In a thread, too."""
        return self._point(names), self._metrics.distinct_values(versions)

    def _point(self, names: list[str]) -> bytes:
        """Return the JSON of a point. Reads the files of all workers: in a thread."""
        return orjson.dumps(point(self._metrics.counts(), names, time.time()))

    def _state(self) -> Json:
        _, ready = self._health.ready()
        models = {
            name: one | self._version(name) for name, one in ready["models"].items()
        }
        return ready | {
            "models": models,
            "datastores": self._datastores(),
            "bounds": bounds(),
            "period_seconds": PERIOD_SECONDS,
        }

    def _version(self, name: str) -> Json:
        """Return when the live version was staged, and where its answers are cached."""
        live = self._current.get(name)
        if live is None:
            return {"staged": None, "datastore": None}
        servable = live.servable
        store = self._stores.get(model_of(name))
        is_cached = not servable.description.unsteady
        return {
            "staged": _staged(servable.version.directory),
            "datastore": store if is_cached else None,
        }


class StatsRoute:
    """Answers GET with the statistics; with those of before for `?history`."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response
    ) -> None:
        if request.has_param("history"):
            body = await self._stats.document_with_history()
        else:
            body = await self._stats.document()
        response.set_header("Cache-Control", "no-store")
        await send_json_packed(request, response, body)


def _staged(directory: Path) -> float | None:
    """Return when a version was staged, in seconds since 1970; None: not known."""
    try:
        return (directory / "servable.json").stat().st_mtime
    except OSError:
        return None
