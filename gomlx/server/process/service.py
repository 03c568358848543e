"""Everything that serves in one worker process, built from the config.

TensorFlow is imported after the fork only, and prometheus_client after its directory
is known, so what needs them is imported where it is built.
"""

import asyncio
import gc
import importlib
import os
import signal
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gomlx.config.load import masked_config
from gomlx.config.schema import Config, Endpoint, Model
from gomlx.runtime.rundir import RunDir, claim_slot
from gomlx.server.http.certificates import Certificates
from gomlx.server.http.idle import Watched
from gomlx.server.http.limits import HttpLimits
from gomlx.server.process.loop_lag import watch
from gomlx.server.routes.pacing import Paced

if TYPE_CHECKING:
    from gomlx.models.serving.current import LiveVersion
    from gomlx.models.version import ModelVersion
    from gomlx.server.process.gunicorn import Worker

_SERVABLE = "gomlx.models.serving.servable"
_FOLD_SECONDS, _FOLDS_A_FLUSH = 0.025, 10


class Service:
    """Everything in one worker process. Made on the event loop, after the fork."""

    def __init__(self, config: Config, rundir: RunDir, worker: "Worker") -> None:
        # Metrics before all else: prometheus_client must find its directory.
        from gomlx.metrics.metrics import Metrics

        self._slot = claim_slot(rundir).number
        self.metrics = Metrics(rundir.metrics, self._slot, rundir.tallies)

        from gomlx.models.serving.current import Current
        from gomlx.models.version import Manifest
        from gomlx.server.http.connections import Connections
        from gomlx.server.predict.predictor import Predictor
        from gomlx.server.process.reload import Reloader
        from gomlx.server.process.stores import open_stores
        from gomlx.server.routes.app import App
        from gomlx.server.routes.health import Status
        from gomlx.server.routes.mly_operations import Operations

        self._models = {model.id: model for model in config.models}
        self._rundir = rundir
        self.current = Current(self._models)
        self._stores = open_stores(config, rundir.store, self.metrics)
        self._watched: set[Watched] = set()
        self._certificates: Certificates | None = worker.app.certificates
        limits = _limits(config.endpoint)
        predictor = Predictor(
            self.current,
            {model.id: self._caching(model) for model in config.models},
            {m.id: m.batch.max_queued_rows for m in config.models},
            self.metrics,
        )
        self.reloader = Reloader(
            rundir.manifest, self.current, self._load, self.metrics
        )
        status = Status(
            self.current,
            masked_config(config),
            lambda: Manifest.read(rundir.manifest),
            self.metrics,
            self._tiers,
            self._certificates,
        )
        operations = Operations(self.metrics, list(self._models))
        self.app = Paced(App(predictor, status, operations, limits).asgi())
        self.connections = Connections(
            {f"/v1/api/model/{name}/eval".encode(): name for name in self._models},
            predictor,
            limits,
            self._handed_over(worker),
            worker.count_connection,
        )
        self._late = self.metrics.histogram("gomlx_loop_lag_seconds", str(self._slot))
        self._tasks: list[asyncio.Task[None]] = []
        self._keepalive = config.endpoint.keepalive_seconds

    async def start(self) -> None:
        """Load every model, then announce that SIGUSR2 is welcome."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self.reloader.wake)
        await asyncio.to_thread(importlib.import_module, _SERVABLE)
        # What is here now stays, TensorFlow's modules first of all: collections need
        # not look at it, which would keep the loop for 100 ms. Models come and go.
        gc.collect()
        gc.freeze()
        await self.reloader.catch_up()
        self._announcement.touch()
        self._tasks = [
            loop.create_task(self.reloader.follow()),
            loop.create_task(self._flush()),
            loop.create_task(self._tick()),
            loop.create_task(watch(self._late)),
        ]
        if self._certificates:
            self._tasks.append(loop.create_task(self._certificates.follow()))

    def stop(self) -> None:
        """Take no more requests; those that are under way go on."""
        self._announcement.unlink(missing_ok=True)
        self.connections.stop()

    async def close(self) -> None:
        """Write what waits, and let go of everything."""
        for task in self._tasks:
            task.cancel()
        closing = [store.tiers.close() for store in self._stores.values()]
        await asyncio.gather(*closing)  # each may wait for a Redis that hangs
        self.metrics.close()

    @property
    def _announcement(self) -> Path:
        return self._rundir.workers / str(os.getpid())

    def _caching(self, model: Model) -> Any:
        from gomlx.server.predict.policy import CachePolicy

        store = self._stores.get(model.datastore or "")
        return (
            CachePolicy(store.tiers, store.coalescer(model))
            if store
            else CachePolicy(None)
        )

    def _load(self, version: "ModelVersion") -> "LiveVersion":
        """Load and warm a version. Runs in a thread."""
        from gomlx.models.serving.batcher import Batcher, BatchLimits
        from gomlx.models.serving.cost import Cost
        from gomlx.models.serving.current import LiveVersion
        from gomlx.models.serving.run import RunCounts
        from gomlx.models.serving.servable import Servable

        servable = Servable(version)
        name, batch = version.name, self._models[version.name].batch
        max_rows = batch.max_rows if servable.description.joins_rows else 1
        cost = Cost(max_rows, servable.warm(max_rows))
        limits = BatchLimits(
            max_rows,
            batch.linger_ms / 1000,
            batch.max_queued_rows,
            batch.max_queued_ms / 1000,
        )
        counts = RunCounts(
            self.metrics.counter("gomlx_model_runs", name),
            self.metrics.counter("gomlx_model_run_failures", name),
            self.metrics.histogram("gomlx_model_run_seconds", name),
            self.metrics.histogram("gomlx_batch_rows", name),
        )
        batcher = Batcher(name, servable.run, limits, counts, cost)
        batcher.when_completed = self.connections.send
        return LiveVersion(servable, batcher)

    def _tiers(self) -> dict[str, Any]:
        details = {name: store.detail() for name, store in self._stores.items()}
        return {name: detail for name, detail in details.items() if detail}

    def _handed_over(self, worker: "Worker") -> Callable[[], Watched]:
        return lambda: Watched(worker, self._watched, self._keepalive)

    async def _flush(self) -> None:
        for turn in count():
            self.metrics.fold()
            if turn % _FOLDS_A_FLUSH == 0:
                self.metrics.flush()
            await asyncio.sleep(_FOLD_SECONDS)

    async def _tick(self) -> None:
        while True:
            self.connections.tick()
            now = time.monotonic()
            for connection in list(self._watched):
                connection.check(now, self._keepalive + 2)  # HTTP/2 says good-bye first
            for store in self._stores.values():
                store.tiers.tick()
            await asyncio.sleep(1)


def _limits(endpoint: Endpoint) -> HttpLimits:
    return HttpLimits(
        endpoint.max_body_bytes,
        endpoint.max_header_bytes,
        endpoint.receive_seconds,
        endpoint.keepalive_seconds,
        endpoint.request_seconds,
        endpoint.max_connections,
    )
