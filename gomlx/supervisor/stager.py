"""Stages versions in child processes: TensorFlow may crash there, or hang."""

import asyncio
import json
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.version import NOTHING_THERE, ModelVersion, StageLimits, StageRequest
from gomlx.runtime.logs import log_descriptor, log_options
from gomlx.supervisor.guest import ONE_THREAD, make_guest, relieve
from gomlx.supervisor.phases import Phases
from gomlx.supervisor.watcher import Observation

_SHARE_SECONDS = 60.0
_OUT_OF_MEMORY = re.compile(r"OOM when allocating|MemoryError|bad_alloc")
_AGAIN_SECONDS = 0.2
_LONGEST_LINE = 1 << 24  # that a staging process prints
_KEYS = {"begun", "phase", "version", "error"}  # each the first of a line of ours


@dataclass(frozen=True)
class Guests:
    """When stagings are guests beside a service that answers, and how many at once.

    are_due: whether there is somebody to disturb. After patient_seconds, one that is
    not finished gets a little more of the processors.
    """

    are_due: Callable[[], bool] = lambda: False
    at_once: int = 1
    patient_seconds: float = 60.0


class Stager:
    """Runs `gomlx stage` processes, each for at most timeout_seconds a signature.

    A process that ends while it tries a further signature is repeated without it. A
    staging keeps a core busy, so at most as many run at the same time as there are
    cores, and of guests as many as they may be. One that has taken share_seconds leaves
    its place to models that wait: it may hang. is_quiet: what they log is not shown.
    """

    def __init__(
        self,
        timeout_seconds: float,
        is_quiet: bool = False,
        share_seconds: float = _SHARE_SECONDS,
        guests: Guests | None = None,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._share_seconds = share_seconds
        self._is_quiet = is_quiet
        self._guests = guests or Guests()
        self._cores = asyncio.Semaphore(os.cpu_count() or 1)
        self._guest_places = asyncio.Semaphore(self._guests.at_once)

    async def stage(
        self, request: StageRequest, observation: Observation
    ) -> ModelVersion:
        """Stage what was observed. Raises StageFailed, OSError."""
        if isinstance(observation, StageFailed):
            raise observation
        if observation is None:
            raise StageInterrupted(NOTHING_THERE)
        refused = dict[str, str]()
        async with self._place():
            while True:
                result = await self._run(replace(request, refused=refused))
                begun = result.get("begun")
                if begun is None or begun in refused:
                    return _version(result)
                refused[begun] = result["error"]  # the others are served without it

    @asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        """Hold one of the places, but no longer than share_seconds."""
        places = self._guest_places if self._guests.are_due() else self._cores
        await places.acquire()
        held = ExitStack()
        held.callback(places.release)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._share_seconds, held.close)
        try:
            yield
        finally:
            timer.cancel()
            held.close()  # once, whoever calls it

    async def _run(self, request: StageRequest) -> dict[str, Any]:
        """Run a process, and return what it has printed last."""
        process = await _start(self._is_quiet)
        try:
            with self._as_guest(process.pid):
                return await self._result(process, request)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            remove_unfinished(request.into)

    @contextmanager
    def _as_guest(self, group: int) -> Iterator[None]:
        """Have a process disturb nobody, if there is somebody."""
        if not self._guests.are_due():
            yield
            return
        make_guest(group)
        relieving = asyncio.create_task(self._relieve(group))
        try:
            yield
        finally:
            relieving.cancel()

    async def _relieve(self, group: int) -> None:
        """Give a guest a little more after a while."""
        await asyncio.sleep(self._guests.patient_seconds)
        while not relieve(group):  # noqa: ASYNC110  # the kernel tells nobody when
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _result(
        self, process: asyncio.subprocess.Process, request: StageRequest
    ) -> dict[str, Any]:
        """Send the request, and read what is printed. Each signature has its time."""
        assert process.stdin and process.stdout
        last: dict[str, Any] = {}
        process.stdin.write(request.to_json().encode())
        process.stdin.close()
        try:
            with Phases(request.name) as phases:
                async with asyncio.timeout(self._timeout_seconds) as limit:
                    async for line in process.stdout:
                        ours = _parsed(line)
                        if "phase" in ours:
                            phases.begin(ours["phase"])
                        elif ours:
                            last = ours
                            now = asyncio.get_running_loop().time()
                            limit.reschedule(now + self._timeout_seconds)
                    code = await process.wait()
            problem = _fate(code, request.limits)
        except TimeoutError:
            problem = f"staging took over {self._timeout_seconds:.0f} s{phases.where}"
        if "error" in last and _OUT_OF_MEMORY.search(last["error"]):
            return last | {"error": f"{last['error']}{_memory(request.limits)}"}
        if last.keys() & {"version", "error"}:
            return last
        return last | {"error": problem, "may_pass": True}


def _fate(code: int, limits: StageLimits) -> str:
    """Say how a process has ended that has said nothing, and of which limit."""
    if code == -signal.SIGXCPU:
        return (
            f"staging took over {limits.cpu_seconds} s of CPU time "
            "(watch.stage_cpu_seconds)"
        )
    end = f"the staging process ended with code {code}"
    return end + _memory(limits) if code < 0 else end


def _memory(limits: StageLimits) -> str:
    if not limits.memory_mb:
        return ""
    return f"; it may allocate {limits.memory_mb} MB (watch.stage_memory_mb)"


def remove_unfinished(directory: Path) -> None:
    """Remove the work folders of killed staging processes from a model's directory."""
    for folder in directory.glob(".staging-*"):
        shutil.rmtree(folder, ignore_errors=True)


async def _start(is_quiet: bool) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "gomlx", "stage", "--parent", str(os.getpid())]
    return await asyncio.create_subprocess_exec(
        *command,
        *log_options(),
        env=os.environ | ONE_THREAD,
        stdin=asyncio.subprocess.PIPE,  # not an argument: a URL may hold a secret
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL if is_quiet else None,
        pass_fds=[] if is_quiet else [log_descriptor()],
        limit=_LONGEST_LINE,
        start_new_session=True,  # Ctrl-C is for the supervisor alone
    )


def _parsed(line: bytes) -> dict[str, Any]:
    """Return a line of ours; {} for what a library prints."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    is_ours = isinstance(found, dict) and found.keys() & _KEYS
    return found if is_ours else {}


def _version(result: dict[str, Any]) -> ModelVersion:
    """Return the version that a process has staged. Raises StageFailed."""
    if "error" in result:
        kind = StageInterrupted if result["may_pass"] else StageFailed
        raise kind(result["error"])
    return ModelVersion.from_json(result["version"])
