"""The parent process of a service: it stages, publishes, signals, and runs Gunicorn.

    startup     remove leftovers of earlier runs; publish an empty manifest
    main loop   per model: watch ─► stage ─► publish ─► signal (followed.py)
                once a second: make anew what is gone of the files in shared memory
                Gunicorn: once every model was staged or has failed: start, restart
                its workers listen, once they have loaded every model
                SIGHUP: the config is read again, and models come and go
    shutdown    drain: answer on, and say that it ends; refuse connections; stop
                Gunicorn gracefully; kill what remains

It imports neither TensorFlow nor Falcon nor Redis: what can crash runs in children.
"""

import asyncio
import logging
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from gomlx.errors import GomlxError
from gomlx.models.version import StageRequest
from gomlx.runtime.ending import end_within
from gomlx.runtime.listeners import Listeners
from gomlx.runtime.logs import log_options
from gomlx.runtime.rundir import RunDir
from gomlx.supervisor.followed import FollowedModels, WatchIntervals
from gomlx.supervisor.master import Master
from gomlx.supervisor.publisher import Publisher
from gomlx.supervisor.stager import remove_unfinished

log = logging.getLogger(__name__)

# One slow source must not delay the other models, and /livez, for longer.
_FIRST_STAGING_SECONDS = 10.0
_LAST_SECONDS = 10.0  # of a stop, beyond the graceful time
_KEEP_SECONDS = 1.0


@dataclass(frozen=True)
class ServiceTimes:
    """Durations that the config options of these names give (`gomlx.config.schema`).

    first_seconds: how long Gunicorn waits for models that have not been staged.
    """

    watch: WatchIntervals
    drain_seconds: float
    graceful_seconds: float
    first_seconds: float = _FIRST_STAGING_SECONDS


@dataclass(frozen=True)
class ServiceSettings:
    """What a supervisor has of a config: how each model is staged, and durations."""

    requests: Sequence[StageRequest]
    times: ServiceTimes


class ConfigSource(Protocol):
    """Where the config of a service, which may change, comes from."""

    def keep(self) -> None:
        """Make anew what is gone of the files that workers share.

        Raises GomlxError, OSError.
        """

    def read_again(self) -> ServiceSettings | None:
        """Have workers find the config as it is now; None: as before.

        Raises GomlxError, OSError, and then nothing has changed.
        """


class Supervisor:
    """One service's parent process. Its workers accept connections on listeners.

    settings: those of the config at the start. Threads call source.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        rundir: RunDir,
        listeners: Listeners,
        source: ConfigSource,
    ) -> None:
        timing = settings.times
        self._rundir = rundir
        self._listeners = listeners
        self._timing = timing
        self._source = source
        self._stopping = asyncio.Event()
        self._hung_up = asyncio.Event()
        self._drain_seconds = 0.0
        self._master = Master(
            _master_command(rundir, listeners),
            listeners,
            rundir.workers,
            timing.graceful_seconds,
        )
        self._publisher = Publisher(rundir.manifest, self._master.signal_workers)
        self._models = FollowedModels(
            settings.requests, self._publisher, timing.watch, self._is_serving
        )

    async def run(self) -> None:
        """Serve until `stop` is called, or SIGTERM or SIGINT arrives."""
        self._startup()
        try:
            await self._main_loop()
        finally:
            await self._shutdown()

    def stop(self, drain_seconds: float = 0.0) -> None:
        """End the service gracefully; a second call ends it at once.

        drain_seconds: how long it goes on to accept before. Safe in a signal handler of
        the loop. Whatever hangs, the process ends.
        """
        if self._stopping.is_set():
            self._master.kill()
        else:
            self._drain_seconds = drain_seconds
            limit = drain_seconds + self._timing.graceful_seconds + _LAST_SECONDS
            end_within(limit, self._master.kill)
        self._stopping.set()

    async def stopped(self) -> None:
        """Wait until `stop` is called."""
        await self._stopping.wait()

    def _is_serving(self) -> bool:
        return self._listeners.are_listening and self._publisher.has_versions

    def _startup(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.stop)
        has_terminal = sys.stdin.isatty()
        loop.add_signal_handler(signal.SIGTERM, self._terminate, has_terminal)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up, has_terminal)
        self._rundir.draining.unlink(missing_ok=True)
        self._remove_leftovers()
        self._publisher.start()

    def _terminate(self, has_terminal: bool) -> None:
        self.stop(0.0 if has_terminal else self._timing.drain_seconds)

    def _hang_up(self, had_terminal: bool) -> None:
        """Read the config again; stop if the terminal is gone, which sends it, too."""
        if had_terminal and not sys.stdin.isatty():
            self.stop()
        self._hung_up.set()

    async def _main_loop(self) -> None:
        loop = asyncio.get_running_loop()
        stopping = loop.create_task(self._stopping.wait())
        serving = loop.create_task(self._serve())
        await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving  # raises what ended it, unless that was the cancellation

    async def _shutdown(self) -> None:
        if self._drain_seconds and self._listeners.are_listening:
            log.info("stopping in %g s: balancers may notice", self._drain_seconds)
            with suppress(OSError):
                self._rundir.draining.touch()
            self._master.signal_workers()
            await self._master.wait(self._drain_seconds)
        log.info("stopping: what is under way is answered")
        await self._master.stop()
        log.info("stopped")

    def _remove_leftovers(self) -> None:
        """Remove models that are no longer configured, and unfinished stagings."""
        configured = self._models.names
        for folder in self._rundir.models.iterdir():
            if not folder.is_dir():
                continue
            if folder.name in configured:
                remove_unfinished(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    async def _serve(self) -> None:
        """Follow every model's source; run Gunicorn once each was tried, or is slow."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_files())
            tasks.create_task(self._models.run())
            tasks.create_task(self._tell_of_listeners())
            tasks.create_task(self._read_again())
            with suppress(TimeoutError):
                async with asyncio.timeout(self._timing.first_seconds):
                    await self._models.tried()
            tasks.create_task(self._master.keep_running())

    async def _tell_of_listeners(self) -> None:
        await self._listeners.listening()
        for url in self._listeners.urls:
            log.info("listening at %s", url)

    async def _read_again(self) -> None:
        """Read the config again after each SIGHUP."""
        while True:
            await self._hung_up.wait()
            self._hung_up.clear()
            log.info("SIGHUP: the config is read again")
            try:
                settings = await asyncio.to_thread(self._source.read_again)
            except (GomlxError, OSError) as error:
                log.error("nothing of the config is changed: %s", error)
                continue
            if settings:
                self._timing = settings.times
                self._models.change(settings.requests)
            self._master.signal_workers()

    async def _keep_files(self) -> None:
        """Make anew what others remove of the files in shared memory, or damage."""
        problem = ""
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            try:
                await asyncio.to_thread(self._source.keep)
            except (GomlxError, OSError) as error:
                if str(error) != problem:  # logged once, until another comes or none
                    log.error("%s", error)
                problem = str(error)
            else:
                problem = ""
            self._publisher.note_restarts(self._master.restarts)
            self._publisher.keep()


def _master_command(rundir: RunDir, listeners: Listeners) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gomlx.server.process.gunicorn",
        "--parent",
        str(os.getpid()),
        "--run-dir",
        str(rundir.root),
        "--listeners",
        ",".join(map(str, listeners.descriptors)),
        *log_options(),
    ]
