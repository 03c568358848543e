"""Gunicorn's master process: started, signalled, restarted when it ends, and stopped.

    start ─► wait ─► ended ─► back off ─► start …
                       └─► after the graceful time, kill workers that outlived it

A master and its workers are one process group, of which the master is the leader.
"""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from gomlx.runtime.listeners import Listeners
from gomlx.runtime.logs import log_descriptor
from gomlx.supervisor.backoff import Backoff

log = logging.getLogger(__name__)

_FIRST_RESTART_SECONDS = 0.5
_LAST_RESTART_SECONDS = 30.0
_HUNG_SECONDS = 5.0  # beyond the graceful time, after which a master counts as hung


class Master:
    """The running master, if any, and those that died before their workers.

    command starts it, and inherits the listeners, on which the workers accept. workers
    is the directory in which they announce that they handle SIGUSR2. restarts: how
    often it was started anew.
    """

    def __init__(
        self,
        command: Sequence[str],
        listeners: Listeners,
        workers: Path,
        graceful_seconds: float,
    ) -> None:
        self._command = command
        self._listeners = listeners
        self._workers = workers
        self._graceful_seconds = graceful_seconds
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._orphaned: set[int] = set()  # groups whose leader, the master, has died

    async def keep_running(self) -> None:
        """Start the master, and restart it whenever it ends, until cancelled."""
        loop = asyncio.get_running_loop()
        backoff = Backoff(_FIRST_RESTART_SECONDS, _LAST_RESTART_SECONDS)
        while True:
            started = loop.time()
            reason = await self._run()
            if loop.time() - started > _LAST_RESTART_SECONDS:
                backoff.reset()
            delay = backoff.next()
            log.error("Gunicorn ended (%s); restarting it in %.1f s", reason, delay)
            await asyncio.sleep(delay)
            self.restarts += 1

    async def wait(self, seconds: float) -> None:
        """Wait until the master ends, but no longer."""
        if self._process:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._process.wait()

    async def stop(self) -> None:
        """Refuse connections, and stop gracefully.

        Every process that outlives the graceful time is killed.
        """
        self._listeners.shut_down()
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
            # Gunicorn enforces the graceful time itself, unless the master hangs.
            limit = self._graceful_seconds + _HUNG_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(limit):
                    await process.wait()
        self.kill()
        await process.wait()

    def kill(self) -> None:
        """Kill every master and its workers."""
        if self._process:
            self._kill_group(self._process.pid)
        for group in list(self._orphaned):
            self._kill_group(group)

    def signal_workers(self) -> None:
        """Send SIGUSR2 to the workers that handle it; forget those that died."""
        if self._process is None:
            return
        for announcement in self._workers.glob("*"):  # none if the folder is gone
            pid = int(announcement.name)
            if _parent_of(pid) == self._process.pid:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGUSR2)
            elif not Path(f"/proc/{pid}").exists():
                announcement.unlink(missing_ok=True)

    async def _run(self) -> str:
        """Run one master, and return why it ended."""
        try:
            process = await self._start()
        except OSError as error:
            return str(error)
        code = await process.wait()
        # Its workers notice and end; those that hang are killed.
        self._orphaned.add(process.pid)
        loop = asyncio.get_running_loop()
        loop.call_later(self._graceful_seconds, self._kill_group, process.pid)
        return f"code {code}"

    async def _start(self) -> asyncio.subprocess.Process:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=[*self._listeners.descriptors, log_descriptor()],
            start_new_session=True,  # Ctrl-C is for the supervisor alone; and one group
        )
        return self._process

    def _kill_group(self, group: int) -> None:
        self._orphaned.discard(group)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def _parent_of(pid: int) -> int | None:
    """Return a process's parent, since the pid of an old announcement may be reused."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return int(stat.rpartition(")")[2].split()[1])
