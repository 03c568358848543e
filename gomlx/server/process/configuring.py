"""The config of a worker that serves: what has changed in it is applied.

The supervisor has checked it, and changes nothing that a worker cannot have while it
runs (gomlx/config/changes.py).
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gomlx.config.load import decoded
from gomlx.config.schema import Batch, Config, Model
from gomlx.server.http.connections import Connections
from gomlx.server.http.limits import HttpLimits
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.predictor import RowLimits
from gomlx.server.process.answering.handlers import WorkerParts, http_limits
from gomlx.server.process.loading import VersionLoader
from gomlx.server.process.run_watch import RunWatch
from gomlx.server.process.stores import Store

if TYPE_CHECKING:
    from gomlx.models.serving.servable import LoadGraph

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelParts:
    """What loads models and watches their runs. isolated: loads those of a config."""

    loader: VersionLoader
    isolated: "Callable[[Config], Mapping[str, LoadGraph]]"
    run_watch: RunWatch


@dataclass(frozen=True)
class ConfiguredParts:
    """What a worker has made of its config.

    answer: has all routes answered as a config has them.
    """

    worker: WorkerParts
    connections: Connections
    models: ModelParts
    answer: Callable[[Config, HttpLimits], None]


class ConfigFollower:
    """Applies the config whenever the supervisor has written another one."""

    def __init__(self, path: Path, config: Config, parts: ConfiguredParts) -> None:
        """config: the one of which the parts were made."""
        self._path = path
        self._config = config
        self._parts = parts
        self._seen: tuple[int, int] | None = None

    def look(self) -> set[str]:
        """Apply the config; return the models whose versions are to be loaded anew.

        Raises OSError; a file that is gone is made anew by the supervisor.
        """
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return set()
        seen = (found.st_ino, found.st_mtime_ns)
        if seen == self._seen:
            return set()
        new: Config = decoded(self._path.read_text())
        self._seen = seen
        old = self._config
        if new == old:
            return set()
        self._config = new
        self._apply(old, new)
        known = {model.id: _of_load(model) for model in old.models}
        return {one.id for one in new.models if known.get(one.id) != _of_load(one)}

    def admit(self, name: str) -> None:
        """Have a further signature answered that has got a slot."""
        self._parts.worker.predictor.add(name)
        self._parts.connections.parse.add_route(route_of(name), name)

    def _apply(self, old: Config, new: Config) -> None:
        parts = self._parts
        logging.getLogger().setLevel(new.log_level.upper())
        limits = http_limits(new.endpoint)
        bodies = parts.worker.limits.bodies
        bodies.limit = limits.bodies.limit
        limits = limits._replace(bodies=bodies)
        self._change_models(old, new)
        current = parts.worker.current
        parts.connections.configure(limits, current.is_configured)
        for model in new.models:
            parts.connections.parse.add_route(route_of(model.id), model.id)
        parts.answer(new, limits)
        log.info("the config has changed: it is applied")

    def _change_models(self, old: Config, new: Config) -> None:
        worker = self._parts.worker
        models = self._parts.models
        models.loader.configure(batches_of(new), models.isolated(new))
        models.run_watch.configure(new)
        ids = [model.id for model in new.models]
        worker.current.configure(ids, models.loader.close)
        for store in worker.stores.values():
            store.keep_models(worker.current.is_configured)
        changed = {model.id for model in new.models if model not in old.models}
        policies = policies_of(new, worker.stores)
        worker.predictor.configure(policies, row_limits_of(new), changed)


def _of_load(model: Model) -> Any:
    """Return what of a model's config decides how its versions are loaded."""
    return model.batch, model.isolate, model.isolate and model.run_seconds


def batches_of(config: Config) -> dict[str, Batch]:
    """Return how the rows of each model run together."""
    return {model.id: model.batch for model in config.models}


def policies_of(config: Config, stores: Mapping[str, Store]) -> dict[str, CachePolicy]:
    """Return how the answers of each model are cached."""
    policies = {}
    for model in config.models:
        store = stores.get(model.datastore or "")
        policies[model.id] = (
            CachePolicy(store.tiers, store.coalescer(model))
            if store
            else CachePolicy(None)
        )
    return policies


def row_limits_of(config: Config) -> dict[str, RowLimits]:
    """Return how many rows each model has at most."""
    return {
        model.id: RowLimits(model.batch.request_rows, model.batch.max_queued_rows)
        for model in config.models
    }


def route_of(name: str) -> bytes:
    """Return the target of requests for a model or a further signature."""
    model, _, signature = name.partition(":")
    query = f"?signature={signature}" if signature else ""
    return f"/v1/api/model/{model}/eval{query}".encode()
