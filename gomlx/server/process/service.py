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
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from gomlx.config.schema import Config
from gomlx.metrics.metrics import Metrics
from gomlx.models.batching.threads import spare_cores
from gomlx.models.batching.turns import Turns
from gomlx.models.serving.current import Current
from gomlx.runtime.rundir import RunDir, claim_slot
from gomlx.server.asgi.forms import AnyForm
from gomlx.server.asgi.pacing import PacedApp
from gomlx.server.http.connections import Connections, Successors
from gomlx.server.http.cors import CorsRules
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.predictor import Predictor, RowLimits
from gomlx.server.process.announcement import Announcement
from gomlx.server.process.handlers import WorkerParts, build_handlers, http_limits
from gomlx.server.process.hooks import WorkerHooks
from gomlx.server.process.isolated import isolated_loads
from gomlx.server.process.load import WorkerLoad, body_bytes
from gomlx.server.process.loading import VersionLoader, import_tensorflow
from gomlx.server.process.loop_lag import watch_loop_lag
from gomlx.server.process.reload import Reloader
from gomlx.server.process.run_watch import RunWatch
from gomlx.server.process.stores import (
    Store,
    keep_measuring,
    measure_tiers,
    open_stores,
)
from gomlx.server.routes.app import Handlers, build_app, shows_page

if TYPE_CHECKING:
    from gomlx.server.http.http2.protocol import Http2Protocol

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

    app: the ASGI application. connections: those on a protocol of ours. http2: makes
    the protocol of one of HTTP/2; None where its library cannot be imported.
    """

    def __init__(self, config: Config, rundir: RunDir, hooks: WorkerHooks) -> None:
        slot = claim_slot(rundir).number
        self._hooks = hooks
        self._metrics = metrics = Metrics(rundir.metrics, slot)
        loop_lag = metrics.histogram("gomlx_loop_lag_seconds", str(slot))
        self._stores = open_stores(config, rundir.store, metrics)
        ids = (model.id for model in config.models)
        current = Current(ids, is_terse=config.endpoint.admin is not None)
        predictor = _build_predictor(config, current, self._stores, metrics)
        limits = http_limits(config.endpoint)
        parts = WorkerParts(
            current, predictor, self._stores, metrics, hooks.certificates, limits
        )
        cors = CorsRules(config.endpoint.cors)
        handlers = build_handlers(config, rundir, parts)
        self.app = _app(handlers, config, cors, metrics)
        self.http2 = _http2_protocols(self.app)
        successors = Successors(hooks.hand_over, self.http2, hooks.may_use_h2c)
        self.connections = Connections(
            _routes(config), predictor, limits, successors, hooks.places, cors
        )
        loader = _version_loader(config, hooks, metrics, self.connections.turn)
        self._reloader = Reloader(
            rundir.manifest, current, loader, metrics, self._admitter(predictor)
        )
        self._announcement = Announcement(rundir.workers / str(os.getpid()))
        self._background: list[_Background] = [
            self._announcement.keep,
            self._flush,
            self._tick,
            RunWatch(config, rundir, current, metrics, hooks.replace).follow,
            partial(watch_loop_lag, loop_lag),
            WorkerLoad(slot, metrics, current, self.connections).follow,
            partial(keep_measuring, self._stores.values(), predictor.decide_again),
        ]
        if hooks.certificates:
            self._background.append(hooks.certificates.follow)
        if slot == 0 and shows_page(config.endpoint.admin):  # one worker, for all
            self._background.append(handlers.stats.keep)
        self._tasks: list[asyncio.Task[None]] = []

    def _admitter(self, predictor: Predictor) -> Callable[[str], None]:
        """Return what has a further signature answered, once it has a slot."""

        def admit(name: str) -> None:
            predictor.add(name)
            self.connections.parse.add_route(_route(name), name)

        return admit

    async def startup(self) -> None:
        """Load what is staged, then announce that this process takes SIGUSR2."""
        self._take_signals()
        await self._prepare()
        await self._reloader.catch_up()
        self._begin(self._reloader.follow)

    def start_loading(self) -> None:
        """Announce it at once, and load what is staged meanwhile."""

        async def follow() -> None:
            await self._reloader.has_something_to_load()  # the import blocks the loop
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
            self.connections.drain()

    def stop_accepting(self) -> None:
        """Accept no new requests; open ones finish."""
        self._announcement.end()
        self.connections.stop()

    async def shutdown(self) -> None:
        """Write what is queued, and release everything."""
        for task in self._tasks:
            task.cancel()
        closing = [store.tiers.close() for store in self._stores.values()]
        await asyncio.gather(*closing)  # each may wait for a Redis that hangs
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
            self.connections.tick(time.monotonic())
            self._hooks.check_handed_over()
            for store in self._stores.values():
                store.tick()
            await asyncio.sleep(_TICK_SECONDS)


def _app(
    handlers: Handlers, config: Config, cors: CorsRules, metrics: Metrics
) -> PacedApp:
    app = build_app(handlers, config.endpoint.admin)
    refuse = partial(handlers.predictor.refusal, "")
    return PacedApp(AnyForm(app, cors, refuse, body_bytes(metrics)))


async def _kept(run: _Background) -> None:
    """Run what works beside requests until cancelled: a bug of it must not end it."""
    while True:
        try:
            await run()
        except Exception:
            log.exception("a background task failed, and begins again")
        await asyncio.sleep(_AGAIN_SECONDS)


def _http2_protocols(
    app: PacedApp,
) -> "Callable[[Connections], Http2Protocol] | None":
    try:
        from gomlx.server.http.http2.protocol import http2_protocols
    except ImportError:
        return None
    return http2_protocols(app)


def _version_loader(
    config: Config, hooks: WorkerHooks, metrics: Metrics, turns: Turns
) -> VersionLoader:
    batches = {model.id: model.batch for model in config.models}
    cores = spare_cores(config.workers)
    isolated = isolated_loads(config, hooks, metrics)
    return VersionLoader(batches, metrics, turns, cores, isolated)


def _build_predictor(
    config: Config, current: Current, stores: Mapping[str, Store], metrics: Metrics
) -> Predictor:
    policies = {}
    for model in config.models:
        store = stores.get(model.datastore or "")
        policies[model.id] = (
            CachePolicy(store.tiers, store.coalescer(model))
            if store
            else CachePolicy(None)
        )
    limits = {
        model.id: RowLimits(model.batch.request_rows, model.batch.max_queued_rows)
        for model in config.models
    }
    return Predictor(current, policies, limits, metrics)


def _routes(config: Config) -> dict[bytes, str]:
    return {_route(model.id): model.id for model in config.models}


def _route(name: str) -> bytes:
    """Return the target of requests for a model or a further signature."""
    model, _, signature = name.partition(":")
    query = f"?signature={signature}" if signature else ""
    return f"/v1/api/model/{model}/eval{query}".encode()
