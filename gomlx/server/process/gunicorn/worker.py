"""The Gunicorn worker class: it runs a service, and shows that its event loop runs."""

import asyncio
import logging
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.http2 import negotiation
from gunicorn.workers.gasgi import ASGIWorker

from gomlx.config.schema import Config
from gomlx.models.isolation.spawner import Spawner
from gomlx.runtime.listeners import allow_reuse
from gomlx.runtime.networks import Networks
from gomlx.runtime.sandbox import confine
from gomlx.server.http.connections import Connections
from gomlx.server.http.places import Places
from gomlx.server.http.tls.handshake import Handshake
from gomlx.server.peers.proxied import (
    ProxiedConnection,
    begin_in_the_clear,
    begin_with_tls,
)
from gomlx.server.process.answering.doors import Door
from gomlx.server.process.answering.handlers import http_limits
from gomlx.server.process.gunicorn.accepting import Acceptor, most_waiting
from gomlx.server.process.gunicorn.handed_over import HandedOver
from gomlx.server.process.heartbeat import BEAT_SECONDS, Heartbeat
from gomlx.server.process.hooks import WorkerHooks
from gomlx.server.process.service import Service

log = logging.getLogger(__name__)

# Gunicorn replaces a worker that ends at once: one that cannot start must not spin.
_FAILED_START_SECONDS = 5


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
            self._listen(service, service.doors[:1])
        await heartbeat
        service.stop_accepting()
        await self._shutdown()
        await service.shutdown()
        # Not sys.exit: it waits for all threads, also for a run that does not end.
        os._exit(0)

    def _listen(self, service: Service, doors: Sequence[Door]) -> None:
        """Take connections at some doors, unless this worker has to stop already."""
        hot = service.hot_protocol
        for door in doors if self.alive else ():
            protocols = self._protocols(door, hot)
            rounds = door.connections.successors.rounds
            most = most_waiting(door.connections.limits.connections)
            for listener in self._sockets(door):
                allow_reuse(listener)
                self.servers.append(Acceptor(listener, protocols, rounds, most))

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
                self._listen(self.service, at_once)
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
