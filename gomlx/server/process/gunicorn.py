"""The Gunicorn worker class, and Gunicorn's master with our settings.

Started by the supervisor as `python -m gomlx.server.process.gunicorn`: the master,
which forks the workers. Each builds its own service (service.py), on its event loop.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
from gunicorn.app.base import BaseApplication
from gunicorn.workers.gasgi import ASGIWorker

from gomlx.config.schema import Config
from gomlx.runtime.process import die_with_parent, log_to_stderr
from gomlx.runtime.rundir import SHARED_MEMORY, RunDir
from gomlx.server.http.certificates import Certificates
from gomlx.server.process.service import Service

log = logging.getLogger(__name__)

# Handed-over connections of HTTP/1.1 are for people, probes and scrapers; Gunicorn
# cannot close an idle one when it stops, so it may not be idle for long.
_ASGI_KEEPALIVE_SECONDS = 5
# Gunicorn replaces a worker that ends at once: one that cannot start must not spin.
_FAILED_START_SECONDS = 5


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
        from gomlx.server.http.protocol import HotProtocol

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
