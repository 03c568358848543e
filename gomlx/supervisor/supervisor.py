"""The parent process of a service: it stages, publishes, signals, and runs Gunicorn.

    startup     remove leftovers of earlier runs; publish an empty manifest
    main loop   per model: watch ─► stage ─► publish ─► signal
                once a second: make anew what is gone of the files in shared memory
                Gunicorn: once every model was staged or has failed: start, restart
    shutdown    drain: answer on, and say that it ends; refuse connections; stop
                Gunicorn gracefully; kill what remains

It imports neither TensorFlow nor Falcon nor Redis: what can crash runs in children.
"""

import asyncio
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gomlx.errors import GomlxError, StageFailed, StageInterrupted
from gomlx.models.version import StageRequest
from gomlx.runtime.ending import end_within
from gomlx.runtime.logs import log_options
from gomlx.runtime.masking import masked
from gomlx.runtime.rundir import RunDir
from gomlx.supervisor.backoff import Backoff
from gomlx.supervisor.master import Master
from gomlx.supervisor.publisher import Publisher
from gomlx.supervisor.stager import Stager, remove_unfinished
from gomlx.supervisor.watcher import Observation, Watcher, differ, in_thread

log = logging.getLogger(__name__)

# One slow source must not delay the other models, and /livez, for longer.
_FIRST_STAGING_SECONDS = 10.0
_LAST_SECONDS = 10.0  # of a stop, beyond the graceful time
_LOOK_SECONDS = 60.0  # at all files, which a network may have
_FIRST_RETRY_SECONDS = 30.0
_LAST_RETRY_SECONDS = 600.0
_KEEP_SECONDS = 1.0


@dataclass(frozen=True)
class Intervals:
    """Durations that the config options of these names give (`gomlx.config.schema`)."""

    poll_seconds: float
    settle_seconds: float
    stage_seconds: float
    drain_seconds: float
    graceful_seconds: float


class Supervisor:
    """One service's parent process. Its workers accept connections on listener.

    keep makes anew what is gone of the files that workers share; it runs in a thread,
    and may raise GomlxError and OSError.
    """

    def __init__(
        self,
        requests: Sequence[StageRequest],
        rundir: RunDir,
        listener: socket.socket,
        timing: Intervals,
        keep: Callable[[], None],
    ) -> None:
        self._requests = requests
        self._rundir = rundir
        self._timing = timing
        self._keep = keep
        self._stopping = asyncio.Event()
        self._drain_seconds = 0.0
        self._stager = Stager(timing.stage_seconds)
        self._master = Master(
            _master_command(rundir, listener),
            listener,
            rundir.workers,
            timing.graceful_seconds,
        )
        self._publisher = Publisher(rundir.manifest, self._master.signal_workers)
        self._watchers = {
            one.name: Watcher(one.url, timing.settle_seconds, timing.poll_seconds)
            for one in requests
        }

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

    def _startup(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, self.stop)
        drain_seconds = 0.0 if sys.stdin.isatty() else self._timing.drain_seconds
        loop.add_signal_handler(signal.SIGTERM, self.stop, drain_seconds)
        self._rundir.draining.unlink(missing_ok=True)
        self._remove_leftovers()
        self._publisher.start()

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
        if self._drain_seconds:
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
        configured = {request.name for request in self._requests}
        for folder in self._rundir.models.iterdir():
            if not folder.is_dir():
                continue
            if folder.name in configured:
                remove_unfinished(folder)
            else:
                shutil.rmtree(folder, ignore_errors=True)

    async def _serve(self) -> None:
        """Follow every model's source; run Gunicorn once each was tried, or is slow."""
        tried = [asyncio.Event() for _ in self._requests]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_files())
            for request, event in zip(self._requests, tried, strict=True):
                tasks.create_task(self._follow(request, event))
            tasks.create_task(self._restage_damaged())
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_STAGING_SECONDS):
                    await asyncio.gather(*(event.wait() for event in tried))
            tasks.create_task(self._master.keep_running())

    async def _keep_files(self) -> None:
        """Make anew what others remove of the files in shared memory, or damage."""
        problem = ""
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            try:
                await asyncio.to_thread(self._keep)
            except (GomlxError, OSError) as error:
                if str(error) != problem:  # logged once, until another comes or none
                    log.error("%s", error)
                problem = str(error)
            else:
                problem = ""
            self._publisher.keep()

    async def _follow(self, request: StageRequest, tried: asyncio.Event) -> None:
        """Stage and publish one model each time its source has changed.

        tried is set after the first attempt, whether it succeeds or fails.
        """
        watcher = self._watchers[request.name]
        backoff = Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        last: Observation = None
        async for observation in watcher.observations():
            if differ(observation, last):  # other files have failures of their own
                backoff.reset()
            last = observation
            try:
                version = await self._stager.stage(request, observation)
                self._publisher.publish(version)
                if version.may_gain:
                    watcher.repeat_after(backoff.next())
                else:
                    backoff.reset()
            except (StageFailed, OSError) as error:
                may_pass = isinstance(error, StageInterrupted | OSError)
                reason = masked(str(error))
                self._publisher.report_failure(request.name, reason, may_pass)
                watcher.repeat_after(backoff.next())
            tried.set()

    async def _restage_damaged(self) -> None:
        """Stage versions anew whose files vanish, as cleaners of old files do.

        Workers that have loaded such a version go on; a new one could not load it.
        """
        known: dict[str, str] = {}
        while True:
            await asyncio.sleep(self._timing.poll_seconds)
            with suppress(TimeoutError):
                found = await in_thread(self._publisher.damages, _LOOK_SECONDS)
                for name in found.keys() - known.keys():
                    log.error(
                        "model %s: a staged file is lost, and it is staged anew: %s",
                        name,
                        found[name],
                    )
                    self._watchers[name].repeat()
                known = found


def _master_command(rundir: RunDir, listener: socket.socket) -> list[str]:
    return [
        sys.executable,
        "-m",
        "gomlx.server.process.gunicorn",
        "--parent",
        str(os.getpid()),
        "--run-dir",
        str(rundir.root),
        "--listener",
        str(listener.fileno()),
        *log_options(),
    ]
