"""Builds one worker from the config, and runs it under Gunicorn.

Started by the supervisor as `python -m gomlx.server.worker`: Gunicorn's master, which
forks the workers. TensorFlow is imported after the fork only, so everything that
needs it is imported where it is built.
"""

import argparse
import asyncio
import gc
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gasgi import ASGIWorker

from gomlx.config import Config, Model, masked_config
from gomlx.process import die_with_parent, log_to_stderr
from gomlx.rundir import SHARED_MEMORY, RunDir, take_slot
from gomlx.server.limits import Limits
from gomlx.server.tls import Certificates
from gomlx.server.watched import Watched

if TYPE_CHECKING:
    from gomlx.models.current import Live
    from gomlx.models.version import ModelVersion

log = logging.getLogger(__name__)

# Handed-over connections of HTTP/1.1 are for people, probes and scrapers; Gunicorn
# cannot close an idle one when it stops, so it may not be idle for long.
_ASGI_KEEPALIVE_SECONDS = 5
_FLUSH_SECONDS = 0.25
# Gunicorn replaces a worker that ends at once: one that cannot start must not spin.
_FAILED_START_SECONDS = 5


class Service:
    """Everything in one worker process. Made on the event loop, after the fork."""

    def __init__(self, config: Config, rundir: RunDir, worker: "Worker") -> None:
        # Metrics before all else: prometheus_client must find its directory.
        from gomlx.metrics import Metrics

        self._slot, _ = take_slot(rundir)
        self.metrics = Metrics(rundir.metrics, self._slot, rundir.tallies)

        from gomlx.models.current import Current
        from gomlx.models.version import Manifest
        from gomlx.server.app import App
        from gomlx.server.operations import Operations
        from gomlx.server.predict import Predictor
        from gomlx.server.protocol import Connections
        from gomlx.server.reload import Reloader
        from gomlx.server.status import Status
        from gomlx.server.stores import open_stores

        # What is here now stays: later collections need not look at it.
        gc.collect()
        gc.freeze()
        self._models = {model.id: model for model in config.models}
        self._rundir = rundir
        self.current = Current(self._models)
        self._stores = open_stores(config, rundir.store, self.metrics)
        self._watched: set[Watched] = set()
        self._certificates: Certificates | None = worker.app.certificates
        endpoint = config.endpoint
        limits = Limits(
            endpoint.max_body_bytes,
            endpoint.max_header_bytes,
            endpoint.receive_seconds,
            endpoint.keepalive_seconds,
            endpoint.request_seconds,
            endpoint.max_connections,
        )
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
        self.app = App(predictor, status, operations, limits).asgi()
        self.connections = Connections(
            {f"/v1/api/model/{name}/eval".encode(): name for name in self._models},
            predictor,
            limits,
            self._handed_over(worker),
            worker.count_connection,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._keepalive = endpoint.keepalive_seconds

    async def start(self) -> None:
        """Load every model, then announce that SIGUSR2 is welcome."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR2, self.reloader.wake)
        await self.reloader.catch_up()
        self._announcement.touch()
        self._tasks = [
            loop.create_task(self.reloader.follow()),
            loop.create_task(self._flush()),
            loop.create_task(self._tick()),
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
        from gomlx.server.misses import Caching

        store = self._stores.get(model.datastore or "")
        return Caching(store.tiers, store.coalescer(model)) if store else Caching(None)

    def _load(self, version: "ModelVersion") -> "Live":
        """Load and warm a version. Runs in a thread."""
        from gomlx.models.batcher import Batcher
        from gomlx.models.batcher import Limits as BatchLimits
        from gomlx.models.cost import Cost
        from gomlx.models.current import Live
        from gomlx.models.run import RunCounts
        from gomlx.models.servable import Servable

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
            self.metrics.count("gomlx_model_runs", name),
            self.metrics.count("gomlx_model_run_failures", name),
            self.metrics.spread("gomlx_model_run_seconds", name),
            self.metrics.spread("gomlx_batch_rows", name),
        )
        return Live(servable, Batcher(name, servable.run, limits, counts, cost))

    def _tiers(self) -> dict[str, Any]:
        details = {name: store.detail() for name, store in self._stores.items()}
        return {name: detail for name, detail in details.items() if detail}

    def _handed_over(self, worker: "Worker") -> Callable[[], Watched]:
        return lambda: Watched(worker, self._watched, self._keepalive)

    async def _flush(self) -> None:
        while True:
            self.metrics.flush()
            await asyncio.sleep(_FLUSH_SECONDS)

    async def _tick(self) -> None:
        while True:
            self.connections.tick()
            now = time.monotonic()
            for connection in list(self._watched):
                connection.check(now, self._keepalive + 2)  # HTTP/2 says good-bye first
            for store in self._stores.values():
                store.tiers.tick()
            await asyncio.sleep(1)


class Worker(ASGIWorker):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn's ASGI worker, whose connections begin on the hot protocol."""

    alive: bool
    asgi: Any = None
    service: Service | None = None

    def count_connection(self, change: int) -> int:
        self.nr_conns += change
        return int(self.nr_conns)

    def load_wsgi(self) -> None:
        """Nothing to load yet: the service is built on the event loop."""

    async def _serve(self) -> None:
        from gomlx.server.protocol import HotProtocol

        beating = self.loop.create_task(self._heartbeat())
        service = await self._started()
        tls = self.app.certificates.options if self.app.certificates else {}
        for listener in self.sockets:
            self.servers.append(
                await self.loop.create_server(
                    lambda: HotProtocol(service.connections), sock=listener.sock, **tls
                )
            )
        await beating
        service.stop()
        await self._shutdown()
        await service.close()

    async def _started(self) -> Service:
        try:
            self.service = Service(self.app.config, self.app.rundir, self)
            self.asgi = self.service.app
            await self.service.start()
        except Exception:
            log.exception("cannot start")
            await asyncio.sleep(_FAILED_START_SECONDS)
            sys.exit(1)
        return self.service

    async def _heartbeat(self) -> None:
        """Tell the master that this worker lives, until it has to stop."""
        while self.alive and self.ppid == os.getppid():
            self.notify()
            if self.service and self.service.connections.answered >= self.max_requests:
                self.alive = False
            await asyncio.sleep(0.25)


class Application(BaseApplication):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn with settings from our config instead of its own."""

    def __init__(self, config: Config, rundir: RunDir, listener: int) -> None:
        self.config, self.rundir, self._listener = config, rundir, listener
        self.certificates = (tls := config.endpoint.tls) and Certificates(tls)
        super().__init__()

    def load_config(self) -> None:
        endpoint = self.config.endpoint
        for name, value in {
            "bind": f"fd://{self._listener}",
            "workers": self.config.workers,
            "worker_class": Worker,
            "asgi_loop": "uvloop",
            "worker_tmp_dir": str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
            "timeout": endpoint.worker_timeout_seconds,
            "graceful_timeout": int(endpoint.graceful_seconds) or 1,
            "limit_request_field_size": min(endpoint.max_header_bytes, 65_536),
            "keepalive": _ASGI_KEEPALIVE_SECONDS,
            "asgi_disconnect_grace_period": 0,  # what nobody waits for is not computed
            "max_requests": endpoint.max_requests,
            "max_requests_jitter": endpoint.max_requests // 10,
            "http_protocols": "h1,h2",
            "http2_cleartext": "both",  # not with TLS, which Gunicorn knows by
            "certfile": endpoint.tls and endpoint.tls.certificate,
            "http2_max_concurrent_streams": 128,  # RFC 9113: no less than 100
            "forwarded_allow_ips": ",".join(endpoint.trusted_proxies),
            "control_socket_disable": True,
            "loglevel": "warning",
            "proc_name": "gomlx",
        }.items():
            self.cfg.set(name, value)

    def load(self) -> None:
        """Nothing: each worker builds its own application."""


def main() -> None:
    """Run Gunicorn's master in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--listener", type=int, required=True)
    arguments = parser.parse_args()
    die_with_parent(arguments.parent, signal.SIGTERM)
    rundir = RunDir(arguments.run_dir)
    config = msgspec.json.decode(rundir.config.read_bytes(), type=Config)
    log_to_stderr(config.log_level)
    sys.argv = sys.argv[:1]  # Gunicorn would read it
    with suppress(KeyboardInterrupt):
        Application(config, rundir, arguments.listener).run()


if __name__ == "__main__":
    main()
