"""The parent of a service: it stages, publishes and signals, and keeps Gunicorn going.

    startup     every model has been staged once, or has failed to be
    main loop   per model: watch ─► stage ─► publish ─► signal
                Gunicorn: start ─► wait ─► start again
    shutdown    Gunicorn gracefully, then nothing is left

It imports neither TensorFlow nor Falcon nor Redis: what can crash runs in children.
"""

import asyncio
import json
import logging
import os
import shutil
import signal
import socket
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gomlx.config.masking import masked
from gomlx.errors import StageFailed
from gomlx.models.version import (
    NOTHING_THERE,
    Manifest,
    ModelVersion,
    StageRequest,
    staged,
)
from gomlx.runtime.rundir import RunDir
from gomlx.supervisor.watcher import Sight, Watcher

log = logging.getLogger(__name__)

# A source that is slow must not keep the other models, and /livez, waiting for long.
_FIRST_STAGING_SECONDS = 10.0
_RETRY_SECONDS = (30.0, 600.0)  # first and last wait before staging a failure again
_RESTART_SECONDS = (0.5, 30.0)
_KEPT_VERSIONS = 2  # the live one, and the one that workers may still be leaving


@dataclass(frozen=True)
class Timing:
    """Seconds; what each is for, `gomlx.config` tells."""

    poll: float
    settle: float
    stage: float
    graceful: float


class Supervisor:
    """One service's parent. listener is the socket that the workers will accept on."""

    def __init__(
        self,
        requests: Sequence[StageRequest],
        rundir: RunDir,
        listener: socket.socket,
        timing: Timing,
    ) -> None:
        self._requests, self._rundir = requests, rundir
        self._listener, self._timing = listener, timing
        self._manifest = Manifest()
        self._stopping = asyncio.Event()
        self._gunicorn: asyncio.subprocess.Process | None = None
        self._orphans: set[int] = set()  # masters that died, and left workers
        # Staging takes a core and a model's memory: as many at once as there are cores.
        self._staging = asyncio.Semaphore(os.cpu_count() or 1)

    async def run(self) -> None:
        """Serve until `stop` is called, or SIGTERM or SIGINT comes."""
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(signum, self.stop)
        self._tidy()
        self._manifest.write(self._rundir.manifest)
        stopping = loop.create_task(self._stopping.wait())
        serving = loop.create_task(self._serve())
        try:
            await asyncio.wait({stopping, serving}, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            serving.cancel()
            with suppress(asyncio.CancelledError):
                await serving  # raises what ended it, if it was not us
        finally:
            await self._stop_gunicorn()

    def stop(self) -> None:
        """End the service, gracefully; called again, at once.

        Safe in a signal handler of the loop.
        """
        if self._stopping.is_set():
            self._kill_gunicorn()
        self._stopping.set()

    def _tidy(self) -> None:
        """Remove what earlier runs left: models no longer asked for, half stagings."""
        asked = {request.name for request in self._requests}
        folders = [f for f in self._rundir.models.iterdir() if f.is_dir()]
        _remove_all(folder for folder in folders if folder.name not in asked)
        for folder in folders:
            _remove_all(folder.glob(".staging-*"))

    async def _serve(self) -> None:
        firsts = [asyncio.Event() for _ in self._requests]
        async with asyncio.TaskGroup() as tasks:
            for request, first in zip(self._requests, firsts, strict=True):
                tasks.create_task(self._follow(request, first))
            with suppress(TimeoutError):
                async with asyncio.timeout(_FIRST_STAGING_SECONDS):
                    await asyncio.gather(*(first.wait() for first in firsts))
            tasks.create_task(self._keep_gunicorn())

    # --- models ---

    async def _follow(self, request: StageRequest, first: asyncio.Event) -> None:
        """Stage and publish one model each time its source has changed."""
        loop = asyncio.get_running_loop()
        watcher = Watcher(request.url, self._timing.settle, self._timing.poll)
        retry = loop.call_later(0, lambda: None)
        wait, last = _RETRY_SECONDS
        async for sight in watcher.sights():
            retry.cancel()
            try:
                self._publish(await self._stage(request, sight))
                wait = _RETRY_SECONDS[0]
            except (StageFailed, OSError) as error:
                self._fail(request.name, masked(str(error)))
                retry = loop.call_later(wait, watcher.again)
                wait = min(wait * 2, last)
            first.set()

    async def _stage(self, request: StageRequest, sight: Sight) -> ModelVersion:
        """Stage in a process of its own. Raises StageFailed, OSError."""
        if isinstance(sight, StageFailed):
            raise sight
        if sight is None:
            raise StageFailed(NOTHING_THERE)
        async with self._staging:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "gomlx", "stage", "--parent", str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,  # a URL may hold a secret
                stdout=asyncio.subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is for us
            )
            try:
                async with asyncio.timeout(self._timing.stage):
                    question = request.to_json().encode()
                    output, _ = await process.communicate(question)
            except TimeoutError:
                seconds = self._timing.stage
                raise StageFailed(f"staging took over {seconds:.0f} s") from None
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                _remove_all(request.into.glob(".staging-*"))  # of one that was killed
        return _staged(request, output, process.returncode)

    def _publish(self, version: ModelVersion) -> None:
        name = version.name
        old = self._manifest.versions.get(name)
        self._manifest.failures.pop(name, None)
        self._count(name, "unchanged" if old == version else "published")
        if old != version:
            self._manifest.versions[name] = version
            log.info("model %s: publishing version %s", name, version.digest)
        self._manifest.write(self._rundir.manifest)
        self._signal_workers()
        _forget_versions(version, old)

    def _fail(self, name: str, reason: str) -> None:
        if self._manifest.failures.get(name) == reason:
            return  # said once is enough
        self._manifest.failures[name] = reason
        self._count(name, "failed")
        with suppress(OSError):  # the disk may be what failed; there is a next time
            self._manifest.write(self._rundir.manifest)
        kept = self._manifest.versions.get(name)
        stays = f"; version {kept.digest} stays" if kept else ""
        log.error("model %s cannot be staged: %s%s", name, reason, stays)
        self._signal_workers()

    def _count(self, name: str, outcome: str) -> None:
        counts = self._manifest.reloads.setdefault(name, {})
        counts[outcome] = counts.get(outcome, 0) + 1

    def _signal_workers(self) -> None:
        """Hint to the workers that take SIGUSR2; forget those that died."""
        if self._gunicorn is None:
            return
        for announcement in self._rundir.workers.iterdir():
            pid = int(announcement.name)
            if _parent_of(pid) == self._gunicorn.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR2)
            elif not Path(f"/proc/{pid}").exists():
                announcement.unlink(missing_ok=True)

    # --- Gunicorn ---

    async def _keep_gunicorn(self) -> None:
        """Start Gunicorn, and start it again whenever it ends."""
        loop = asyncio.get_running_loop()
        wait, last = _RESTART_SECONDS
        while True:
            started = loop.time()
            why = await self._run_gunicorn()
            if loop.time() - started > last:
                wait = _RESTART_SECONDS[0]
            log.error("Gunicorn ended (%s); starting it again in %.1f s", why, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, last)

    async def _run_gunicorn(self) -> str:
        """Run it once, and return why it ended."""
        try:
            self._gunicorn = process = await self._start_gunicorn()
        except OSError as error:
            return str(error)
        code = await process.wait()
        # Its workers end by themselves; one that hangs is ended.
        self._orphans.add(process.pid)
        asyncio.get_running_loop().call_later(
            self._timing.graceful, self._kill_group, process.pid
        )
        return f"code {code}"

    async def _start_gunicorn(self) -> asyncio.subprocess.Process:
        listener = self._listener.fileno()
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "gomlx.server.process.gunicorn"),
            *("--parent", str(os.getpid()), "--run-dir", str(self._rundir.root)),
            *("--listener", str(listener)),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[listener],
            start_new_session=True,  # Ctrl-C is for us; and a group to end as one
        )

    async def _stop_gunicorn(self) -> None:
        """Let requests end; what is left after the graceful time is killed."""
        process = self._gunicorn
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            # Gunicorn looks after the time itself; this is for a hung master.
            with suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), self._timing.graceful + 5)
        self._kill_gunicorn()
        await process.wait()

    def _kill_gunicorn(self) -> None:
        """End every master and its workers, which are one process group."""
        if self._gunicorn:
            self._kill_group(self._gunicorn.pid)
        for master in list(self._orphans):
            self._kill_group(master)

    def _kill_group(self, master: int) -> None:
        self._orphans.discard(master)
        with suppress(ProcessLookupError):
            os.killpg(master, signal.SIGKILL)


def _staged(request: StageRequest, output: bytes, code: int | None) -> ModelVersion:
    """Read what a staging process printed last."""
    try:
        result = json.loads(output.splitlines()[-1])
        if "error" in result:
            raise StageFailed(result["error"])
        return staged(request.name, request.into / result["digest"])
    except (IndexError, ValueError, TypeError, KeyError):
        raise StageFailed(f"the staging process ended with code {code}") from None


def _forget_versions(live: ModelVersion, old: ModelVersion | None) -> None:
    """Remove staged versions, but for the live one and the newest others."""
    others = [
        path
        for path in live.directory.parent.iterdir()
        if path not in (live.directory, old and old.directory)
        and not path.name.startswith(".")
    ]
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    kept = _KEPT_VERSIONS - 1 - int(old is not None and old != live)
    _remove_all(others[max(kept, 0) :])


def _remove_all(folders: Iterable[Path]) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _parent_of(pid: int) -> int | None:
    """The parent's process id: a number in an old announcement may be reused."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
