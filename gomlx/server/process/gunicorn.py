"""The Gunicorn worker class, and Gunicorn's master with our settings.

Started by the supervisor as `python -m gomlx.server.process.gunicorn`: the master,
which forks the workers. Each builds its own service (service.py) on its event loop.
"""

import argparse
import asyncio
import faulthandler
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger
from gunicorn.http2 import negotiation
from gunicorn.workers.gasgi import ASGIWorker

from gomlx.config.load import decoded
from gomlx.config.schema import Config
from gomlx.models.isolation.spawner import Spawner
from gomlx.runtime.listeners import BACKLOG, allow_reuse
from gomlx.runtime.logs import STDERR, log_to_stderr
from gomlx.runtime.networks import Networks
from gomlx.runtime.process import (
    die_with_parent,
    most_connections,
    raise_file_limit,
)
from gomlx.runtime.rundir import SHARED_MEMORY, RunDir
from gomlx.runtime.sandbox import confine
from gomlx.server.http.connections import Connections
from gomlx.server.http.http2.upgrade import UpgradeRequest, fields_of, settings_of
from gomlx.server.http.idle import WatchedConnection
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.places import Places
from gomlx.server.http.tls.certificates import Certificates
from gomlx.server.http.tls.handshake import Handshake
from gomlx.server.peers.proxied import (
    ProxiedConnection,
    begin_in_the_clear,
    begin_with_tls,
)
from gomlx.server.process.answering.doors import Door
from gomlx.server.process.answering.handlers import http_limits
from gomlx.server.process.heartbeat import BEAT_SECONDS, Heartbeat
from gomlx.server.process.hooks import WorkerHooks
from gomlx.server.process.service import Service

log = logging.getLogger(__name__)

_GOAWAY_SECONDS = 2  # for HTTP/2 to close an idle connection itself
# Gunicorn replaces a worker that ends at once: one that cannot start must not spin.
_FAILED_START_SECONDS = 5


class PassingConnection(WatchedConnection):
    """One that goes on by a protocol of ours when a request for that one comes.

    That is the hot protocol once a request for a hot route begins, behind an answer;
    and HTTP/2 where a request asks for it and its library is there. connections: of its
    listener, on protocols of ours.
    """

    transport: Any
    _is_between = False  # an answer and the next request, of which nothing has come

    def __init__(
        self, worker: "Worker", watched: "HandedOver", connections: Connections
    ) -> None:
        super().__init__(worker, watched, connections.limits)
        self.connections = connections
        self._application = connections.successors.application

    @property
    def is_draining(self) -> bool:
        return self.connections.is_draining

    def data_received(self, data: bytes) -> None:
        is_between = self._is_between and self._awaiting_request
        self._is_between = False
        if is_between and self.connections.is_hot(data, self._names):
            self._pass_on(data)
        else:
            super().data_received(data)

    async def _serve_http_request(self, request: Any, *addresses: Any) -> bool:
        goes_on = await super()._serve_http_request(request, *addresses)
        if not goes_on or not self._is_at_end():
            return goes_on
        rest = self._callback_parser.remaining()
        if not rest:
            self._is_between = True
            return True
        self._task = None  # it ends by itself
        self._resume_reading()
        self._pass_on(rest)
        return False

    def _is_at_end(self) -> bool:
        """Whether the next request begins where this one and its answer end."""
        receiver = self._body_receiver
        return not (
            self.transport.is_closing()
            or self._finishing_calls
            or getattr(self._callback_parser, "remaining_truncated", False)
            or (receiver is not None and not receiver._complete)
        )

    @property
    def _names(self) -> frozenset[str]:
        return self.caller.certificate.valid_names

    def _pass_on(self, rest: bytes) -> None:
        """Have the hot protocol go on, from bytes that have come."""
        is_blocked = self._flow_control.write_paused
        transport = self._give_up_transport()
        hot = self.worker.service.logs.hot_protocol()
        protocol = hot(self.connections)
        protocol.take_back(transport, rest, is_blocked)

    async def _handle_h2c_upgrade(self, request: Any) -> None:
        http2 = self.connections.successors.http2
        if http2 is None:
            await super()._handle_h2c_upgrade(request)
            return
        target = request.raw_path
        if request.query:
            target += b"?" + request.query.encode("latin-1")
        asked = UpgradeRequest(
            settings_of(self._h2c_upgrade_settings),
            fields_of(request.method, target, request.headers_bytes),
            bytes(self._h2c_upgrade_body),
        )
        received = bytes(self.reader._buffer)
        self._task = None  # it ends by itself
        transport = self._give_up_transport()
        transport.write(negotiation.UPGRADE_101)
        protocol: Any = http2(self.connections)
        protocol.upgrade(transport, asked)
        if received:
            protocol.data_received(received)

    def _give_up_transport(self) -> Any:
        """End as if the peer had disconnected, and return the open transport."""
        transport = self.transport
        self.transport = None
        self.connection_lost(None)
        return transport


class HandedOver:
    """The connections of one worker that the hot protocol has handed to Gunicorn.

    limits: of each of them.
    """

    def __init__(self, worker: "Worker", limits: HttpLimits) -> None:
        self._worker = worker
        self._limits = limits
        self._open: set[PassingConnection] = set()

    def protocol(self, connections: Connections) -> WatchedConnection:
        """Return the protocol for another connection of a listener."""
        return PassingConnection(self._worker, self, connections)

    def change_limits(self, limits: HttpLimits) -> None:
        """Have other limits for connections from now on."""
        self._limits = limits

    def add(self, connection: Any) -> None:
        """Note a connection, which Gunicorn counts itself."""
        self._open.add(connection)
        connection.connections.places.enter(connection)

    def discard(self, connection: Any) -> None:
        """Forget a connection that has ended."""
        self._open.discard(connection)
        connection.connections.places.leave(connection)

    def check(self) -> None:
        """Close what is idle for too long; HTTP/2 says GOAWAY first."""
        now = time.monotonic()
        idle_seconds = self._limits.keepalive_seconds + _GOAWAY_SECONDS
        for connection in list(self._open):
            if connection.is_idle and not self._worker.alive:
                connection.close()
            else:
                connection.check(now, idle_seconds)


class Worker(ASGIWorker):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn's ASGI worker, whose connections start on the hot protocol."""

    alive: bool
    config: Config
    asgi: Any = None
    service: Service | None = None
    spawner: Spawner | None = None

    def init_process(self) -> None:
        """Serve until this process has to stop."""
        self.config = self.app.current_config()
        self.proxies = Networks(self.config.endpoint.trusted_proxies)
        timeout = self.config.endpoint.worker_timeout_seconds
        self.heartbeat = Heartbeat(self.notify, timeout)
        if any(model.isolate for model in self.config.models):
            self.spawner = Spawner.start()
        self.has_to_stop = asyncio.Event()
        super().init_process()

    def handle_exit_signal(self) -> None:
        """Stop at once, and not with the next heartbeat."""
        super().handle_exit_signal()
        self.has_to_stop.set()

    def load_wsgi(self) -> None:
        """Nothing to load yet: the service is built on the event loop."""

    async def _serve(self) -> None:
        self.heartbeat.start()
        heartbeat = self.loop.create_task(self._heartbeat())
        service = await self._start_service()
        if self.config.endpoint.listen == "ready":
            tried = self.loop.create_task(service.has_tried_all())
            first = asyncio.FIRST_COMPLETED
            await asyncio.wait({tried, heartbeat}, return_when=first)
            tried.cancel()
            await self._listen(service, service.doors[:1])
        await heartbeat
        service.stop_accepting()
        await self._shutdown()
        await service.shutdown()
        # Not sys.exit: it waits for all threads, also for a run that does not end.
        os._exit(0)

    async def _listen(self, service: Service, doors: Sequence[Door]) -> None:
        """Take connections at some doors, unless this worker has to stop already."""
        hot = service.logs.hot_protocol()
        for door in doors if self.alive else ():
            protocols = self._protocols(door, hot)
            for listener in self._sockets(door):
                allow_reuse(listener)
                is_path = listener.family == socket.AF_UNIX
                create = (
                    self.loop.create_unix_server if is_path else self.loop.create_server
                )
                server = await create(protocols, sock=listener, backlog=BACKLOG)
                self.servers.append(server)

    def _sockets(self, door: Door) -> Sequence[socket.socket]:
        """Return the sockets of a door: that of admins is the last, if there is one."""
        admin = self.config.endpoint.admin
        if admin is None or not admin.has_listener:
            return self.app.listeners  # type: ignore[no-any-return]
        every: Sequence[socket.socket] = self.app.listeners
        return every[-1:] if door.is_for_admins else every[:-1]

    def _protocols(
        self, door: Door, hot: Callable[[Connections], asyncio.Protocol]
    ) -> Callable[[], asyncio.Protocol]:
        """Return what makes the first protocol of each connection."""
        connections = door.connections
        certificates = self.app.certificates if door.speaks_tls else None
        first: Callable[[], asyncio.Protocol] = partial(hot, connections)
        if certificates is not None:
            first = partial(Handshake, connections, certificates.context, hot)
        if door.is_for_admins or not self.config.endpoint.proxy_protocol:
            return first
        begin = begin_with_tls if certificates else begin_in_the_clear
        return partial(
            ProxiedConnection, connections, self._is_proxy, partial(begin, first)
        )

    async def _start_service(self) -> Service:
        try:
            self._confine()
            self.service = Service(self.config, self.app.rundir, self._hooks())
            self.asgi = self.service.app
            doors = self.service.doors
            at_once = doors if self.config.endpoint.listen == "at_once" else doors[1:]
            if at_once:
                await self._listen(self.service, at_once)
                self.service.start_loading()
            else:
                await self.service.startup()
        except Exception:
            log.exception("cannot start")
            await asyncio.sleep(_FAILED_START_SECONDS)
            sys.exit(1)
        return self.service

    def _confine(self) -> None:
        """Let this process write to the service's folders only, unless it is trusted.

        A transformer is the operator's own program, which may do anything.
        """
        config = self.config
        rundir = self.app.rundir
        if config.sandbox and not any(model.transformer for model in config.models):
            tempfile.tempdir = str(rundir.root)  # TensorFlow looks for one
            # All of shared memory: what is removed there is made anew.
            folders = [rundir.root, rundir.shared.parent, *config.log_folders]
            confine(folders, may_connect=True)

    def _hooks(self) -> WorkerHooks:
        limits = http_limits(self.config.endpoint)
        places = Places(limits.connections, self._count_connection, self._is_proxy)
        handed_over = HandedOver(self, limits)
        return WorkerHooks(
            certificates=self.app.certificates,
            is_draining=self.app.rundir.draining.exists,
            hand_over=handed_over.protocol,
            check_handed_over=handed_over.check,
            change_limits=handed_over.change_limits,
            proxies=self.proxies,
            places=places,
            may_use_h2c=partial(negotiation.prior_knowledge_allowed, self.cfg),
            replace=self._leave,
            spawner=self.spawner,
        )

    def _count_connection(self, change: int) -> int:
        """Add to the number of open connections, and return it."""
        self.nr_conns += change
        return int(self.nr_conns)

    def _is_proxy(self, address: str) -> bool:
        """Whether connections from an address may be those of many clients.

        Those of a unix socket have none.
        """
        return not address or address in self.proxies

    def _leave(self) -> None:
        self.alive = False

    async def _heartbeat(self) -> None:
        """Show that the event loop runs, until this worker has to stop."""
        while self.alive and self.ppid == os.getppid():
            self.heartbeat.beat()
            service = self.service
            if (
                service
                and service.connections.turn.carried.requests >= self.max_requests
            ):
                self.alive = False
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS):
                    await self.has_to_stop.wait()
        self.heartbeat.stop()


class PassedOnLogger(Logger):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn's messages as records of our log."""

    def setup(self, cfg: Any) -> None:
        """Set the level that Gunicorn is configured with."""
        super().setup(cfg)
        self.error_log.handlers.clear()
        self.error_log.propagate = True


class Application(BaseApplication):  # type: ignore[misc]  # Gunicorn has no types
    """Gunicorn with settings from our config instead of its own."""

    def __init__(
        self, config: Config, rundir: RunDir, listeners: Sequence[socket.socket]
    ) -> None:
        tls = config.endpoint.tls
        self.config = config
        self.rundir = rundir
        self.certificates = Certificates(tls) if tls else None
        self.listeners = listeners
        super().__init__()

    def current_config(self) -> Config:
        """Return the config as it is now: it may have changed since the start."""
        try:
            return decoded(self.rundir.config.read_text())
        except OSError:
            return self.config

    def load_config(self) -> None:
        """Set Gunicorn's options."""
        for name, value in (self._process_options() | self._http_options()).items():
            self.cfg.set(name, value)

    def load(self) -> None:
        """Nothing: each worker builds its own application."""

    def _process_options(self) -> dict[str, Any]:
        endpoint = self.config.endpoint
        return {
            "bind": [],  # the workers accept on sockets of ours
            "workers": self.config.workers,
            "worker_class": Worker,
            "asgi_loop": "uvloop",
            "worker_tmp_dir": str(SHARED_MEMORY) if SHARED_MEMORY.is_dir() else None,
            "timeout": endpoint.worker_timeout_seconds,
            "graceful_timeout": int(endpoint.graceful_seconds) or 1,
            "max_requests": endpoint.max_requests,
            "max_requests_jitter": endpoint.max_requests // 10,
            "control_socket_disable": True,
            "loglevel": "warning",
            "logger_class": PassedOnLogger,
            "proc_name": "gomlx",
        }

    def _http_options(self) -> dict[str, Any]:
        endpoint = self.config.endpoint
        return {
            "limit_request_field_size": min(endpoint.max_header_bytes, 65_536),
            "asgi_disconnect_grace_period": 0,  # abandoned work is dropped at once
            "http_protocols": "h1,h2",
            # Not with TLS: Gunicorn recognizes that by the certificate's file.
            "http2_cleartext": "both",
            "certfile": endpoint.tls and endpoint.tls.certificate,
            "http2_max_concurrent_streams": 128,  # RFC 9113: no less than 100
            "forwarded_allow_ips": ",".join(endpoint.trusted_proxies),
        }


def main() -> None:
    """Run Gunicorn's master in this process."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--run-dir", type=Path, required=True)
    parser.add_argument("--listeners", required=True)
    parser.add_argument("--log-descriptor", type=int, default=STDERR)
    parser.add_argument("--log-format", default="text")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent, signal.SIGTERM)
    rundir = RunDir(arguments.run_dir)
    config = decoded(rundir.config.read_text())
    log_to_stderr(config.log_level, arguments.log_format, arguments.log_descriptor)
    faulthandler.enable()
    raise_file_limit()
    _warn_of_few_files(config.endpoint.max_connections)
    descriptors = arguments.listeners.split(",")
    listeners = [socket.socket(fileno=int(one)) for one in descriptors]
    sys.argv = sys.argv[:1]  # Gunicorn would parse the rest
    with suppress(KeyboardInterrupt):
        Application(config, rundir, listeners).run()


def _warn_of_few_files(wanted: int) -> None:
    most = most_connections()
    if most < wanted:
        log.warning(
            "max_connections is %d, but a worker may open files for %d connections "
            "only: raise the limit (ulimit -n, LimitNOFILE of systemd)",
            wanted,
            most,
        )


if __name__ == "__main__":
    main()
