"""One worker process: the service that is built from the config, and its life.

Service(…)          on the event loop, after the fork
 ├ startup          import TensorFlow in a thread, load what is staged, announce
 │   … serves …
 ├ stop_accepting   no new requests; open ones finish
 └ shutdown         write what is queued, release everything
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from gomlx.config.schema import Config
from gomlx.metrics.instruments import Histogram
from gomlx.metrics.metrics import Metrics
from gomlx.models.batching.threads import spare_cores
from gomlx.models.batching.turns import Turns
from gomlx.models.serving.current import Current
from gomlx.runtime.rundir import RunDir, claim_slot
from gomlx.server.access.permissions import ServicePermissions
from gomlx.server.asgi.pacing import PacedApp
from gomlx.server.http.connections import Connections
from gomlx.server.http.limits import HttpLimits
from gomlx.server.logs.predicting import RecordingPredictor
from gomlx.server.logs.worker import WorkerLogs
from gomlx.server.predict.predictor import Predictor
from gomlx.server.process.announcement import Announcement
from gomlx.server.process.answering.doors import DoorMaker
from gomlx.server.process.answering.handlers import (
    WorkerParts,
    build_handlers,
    http_limits,
    request_ids,
)
from gomlx.server.process.configuring import (
    ConfigFollower,
    ConfiguredParts,
    ModelParts,
    batches_of,
    policies_of,
    row_limits_of,
)
from gomlx.server.process.hooks import WorkerHooks
from gomlx.server.process.importing import import_tensorflow
from gomlx.server.process.isolated import isolated_loads
from gomlx.server.process.load import WorkerLoad, watch_loop_lag
from gomlx.server.process.loading import Loads, VersionLoader
from gomlx.server.process.reload import Reloader
from gomlx.server.process.run_watch import RunWatch
from gomlx.server.process.stores import (
    Store,
    keep_measuring,
    measure_tiers,
    open_stores,
)
from gomlx.server.process.tier_usage import TierUsages
from gomlx.server.recording.worker import recording_of

log = logging.getLogger(__name__)

_FOLD_SECONDS = 0.025
_FOLDS_PER_FLUSH = 10
_TICK_SECONDS = 1.0
_AGAIN_SECONDS = 1.0
# A thread that parses or scrapes gives the event loop the interpreter after as long.
_SWITCH_SECONDS = 0.001
_Background = Callable[[], Coroutine[Any, Any, None]]


class Service:
    """Everything that serves in one worker process.

    doors: what answers at each listener: the endpoint's first, then that of admins, if
    there is one. logs: of requests.
    """

    def __init__(self, config: Config, rundir: RunDir, hooks: WorkerHooks) -> None:
        slot = claim_slot(rundir).number
        self._hooks = hooks
        self._metrics = metrics = Metrics(rundir.metrics, slot)
        loop_lag = metrics.histogram("gomlx_loop_lag_seconds", str(slot))
        self.logs = logs = WorkerLogs(config, slot, rundir.shared, metrics)
        self._stores = open_stores(config, rundir.store, metrics)
        accesses = ServicePermissions(config.endpoint)
        parts = _parts(config, hooks, metrics, self._stores, logs, accesses.is_open)
        handlers = build_handlers(config, rundir, parts)
        ids = request_ids(config.endpoint)
        self.hot_protocol = logs.hot_protocol()  # the first one of a connection
        if ids and ids.makes:
            self.hot_protocol = logs.identifying_protocol(ids)
        maker = DoorMaker(hooks, parts, handlers, logs, ids)
        self.doors = maker.doors(accesses, config)
        for door in self.doors:
            door.connections.parse.record(parts.recording)
        current = parts.current
        models = ModelParts(
            _version_loader(config, hooks, metrics, self.connections.turn),
            partial(isolated_loads, hooks=hooks, metrics=metrics),
            RunWatch(config, rundir, current, metrics, hooks.replace),
        )
        answer = partial(self._answer, rundir, parts)
        configured = ConfiguredParts(parts, self.connections, models, answer)
        follower = ConfigFollower(rundir.config, config, configured)
        loads = Loads(models.loader, config.watch.stage_seconds)
        self._reloader = Reloader(rundir.manifest, current, loads, metrics, follower)
        self._announcement = Announcement(rundir.workers / str(os.getpid()))
        self._background = self._tasks_beside(slot, models.run_watch, parts, loop_lag)
        if accesses.files:
            follow = partial(accesses.follow, self.connections.parse.forget)
            self._background.append(follow)
        if slot == 0 and accesses.shows_page:  # one worker, for all
            self._background.append(handlers.stats.keep)
        if slot == 0 and any(one.tiers.remotes for one in self._stores.values()):
            self._background.append(TierUsages(self._stores, rundir.metrics).keep)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connections(self) -> Connections:
        """Those on a protocol of ours, at the endpoint's listener."""
        return self.doors[0].connections

    @property
    def app(self) -> PacedApp:
        """The ASGI application of the endpoint's listener."""
        return self.doors[0].app

    def _tasks_beside(
        self, slot: int, run_watch: RunWatch, parts: WorkerParts, loop_lag: Histogram
    ) -> list[_Background]:
        measuring = self._stores.values(), parts.predictor.decide_again
        background: list[_Background] = [
            self._announcement.keep,
            self._flush,
            self._tick,
            run_watch.follow,
            partial(watch_loop_lag, loop_lag),
            WorkerLoad(slot, self._metrics, parts.current, self.connections).follow,
            partial(keep_measuring, *measuring),
        ]
        if self._hooks.certificates:
            background.append(self._hooks.certificates.follow)
        return background

    def _answer(
        self,
        rundir: RunDir,
        parts: WorkerParts,
        config: Config,
        limits: HttpLimits,
    ) -> None:
        """Have all routes answered as a config has them."""
        handlers = build_handlers(config, rundir, replace(parts, limits=limits))
        for door in self.doors:
            door.answer(handlers, limits)
        self._hooks.change_limits(limits)

    async def startup(self) -> None:
        """Load what is staged, then announce that this process takes SIGUSR2."""
        self._take_signals()
        await self._prepare()
        await self._reloader.catch_up()
        self._begin(self._reloader.follow)

    def start_loading(self) -> None:
        """Announce it at once, and load what is staged meanwhile."""

        async def follow() -> None:
            await self._reloader.has_something_to_load()  # the import takes a core
            await self._prepare()
            await self._reloader.follow()

        self._take_signals()
        self._begin(follow)

    async def has_tried_all(self) -> None:
        """Wait until every model is live, or has failed."""
        await self._reloader.has_tried_all()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self._look)
        sys.setswitchinterval(_SWITCH_SECONDS)

    async def _prepare(self) -> None:
        """Have what models and tiers need."""
        await import_tensorflow()
        await measure_tiers(self._stores.values())

    def _begin(self, follow: _Background) -> None:
        loop = asyncio.get_running_loop()
        self._announcement.begin()
        background = [follow, *self._background]
        self._tasks = [loop.create_task(_kept(run)) for run in background]

    def _look(self) -> None:
        """Follow what the supervisor has published."""
        self._drain_if_told()
        self._reloader.wake()

    def _drain_if_told(self) -> None:
        if self._hooks.is_draining():
            for door in self.doors:
                door.connections.drain()

    def stop_accepting(self) -> None:
        """Accept no new requests; open ones finish."""
        self._announcement.end()
        for door in self.doors:
            door.connections.stop()

    async def shutdown(self) -> None:
        """Write what is queued, and release everything."""
        for task in self._tasks:
            task.cancel()
        closing = [store.tiers.close() for store in self._stores.values()]
        closing.append(self.connections.parse.recording.close())
        await asyncio.gather(*closing)  # each may wait for a host that hangs
        await asyncio.to_thread(self.logs.close)
        self.logs.tick()
        self._metrics.close()

    async def _flush(self) -> None:
        for turn in count():
            self._metrics.fold()
            if turn % _FOLDS_PER_FLUSH == 0:
                self._metrics.flush()
            await asyncio.sleep(_FOLD_SECONDS)

    async def _tick(self) -> None:
        while True:
            self._drain_if_told()  # a signal can be lost
            for door in self.doors:
                door.connections.tick(time.monotonic())
            self._hooks.check_handed_over()
            for store in self._stores.values():
                store.tick()
            self.logs.tick()
            await asyncio.sleep(_TICK_SECONDS)


async def _kept(run: _Background) -> None:
    """Run what works beside requests until cancelled: a bug of it must not end it."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("a background task failed, and begins again")
        await asyncio.sleep(_AGAIN_SECONDS)


def _parts(
    config: Config,
    hooks: WorkerHooks,
    metrics: Metrics,
    stores: Mapping[str, Store],
    logs: WorkerLogs,
    is_open: bool,
) -> WorkerParts:
    ids = (model.id for model in config.models)
    current = Current(ids, is_terse=not is_open)
    policies = policies_of(config, stores)
    answered = current, policies, row_limits_of(config), metrics
    predictor = (
        RecordingPredictor(logs.rows, *answered) if logs.rows else Predictor(*answered)
    )
    limits = http_limits(config.endpoint)
    certificates = hooks.certificates
    recording = recording_of(config, predictor)
    return WorkerParts(
        current, predictor, stores, metrics, certificates, limits, recording
    )


def _version_loader(
    config: Config, hooks: WorkerHooks, metrics: Metrics, turns: Turns
) -> VersionLoader:
    cores = spare_cores(config.workers)
    isolated = isolated_loads(config, hooks, metrics)
    return VersionLoader(batches_of(config), metrics, turns, cores, isolated)
