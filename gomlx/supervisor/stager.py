"""Stages versions in child processes: TensorFlow may crash there, or hang."""

import asyncio
import json
import os
import shutil
import sys
from pathlib import Path

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.version import (
    NOTHING_THERE,
    ModelVersion,
    StageRequest,
    staged_version,
)
from gomlx.supervisor.watcher import Observation


class Stager:
    """Runs `gomlx stage` processes, each for at most timeout_seconds.

    A staging keeps a core busy and holds a whole model in memory, so at most as many
    run at the same time as there are cores. is_quiet: what they log is not shown.
    """

    def __init__(self, timeout_seconds: float, is_quiet: bool = False) -> None:
        self._timeout_seconds = timeout_seconds
        self._is_quiet = is_quiet
        self._cores = asyncio.Semaphore(os.cpu_count() or 1)

    async def stage(
        self, request: StageRequest, observation: Observation
    ) -> ModelVersion:
        """Stage what was observed. Raises StageFailed, OSError."""
        if isinstance(observation, StageFailed):
            raise observation
        if observation is None:
            raise StageInterrupted(NOTHING_THERE)
        async with self._cores:
            process = await _start(self._is_quiet)
            try:
                output = await self._output(process, request)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
                remove_unfinished(request.into)
        return _result(request, output, process.returncode)

    async def _output(
        self, process: asyncio.subprocess.Process, request: StageRequest
    ) -> bytes:
        """Send the request and return all that the process prints."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                output, _ = await process.communicate(request.to_json().encode())
        except TimeoutError:
            seconds = self._timeout_seconds
            raise StageInterrupted(f"staging took over {seconds:.0f} s") from None
        return output


def remove_unfinished(directory: Path) -> None:
    """Remove the work folders of killed staging processes from a model's directory."""
    for folder in directory.glob(".staging-*"):
        shutil.rmtree(folder, ignore_errors=True)


async def _start(is_quiet: bool) -> asyncio.subprocess.Process:
    command = [sys.executable, "-m", "gomlx", "stage", "--parent", str(os.getpid())]
    return await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,  # not an argument: a URL may hold a secret
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL if is_quiet else None,
        start_new_session=True,  # Ctrl-C is for the supervisor alone
    )


def _result(request: StageRequest, output: bytes, code: int | None) -> ModelVersion:
    """Return the version that a staging process names in its last line of output."""
    try:
        result = json.loads(output.splitlines()[-1])
        if "error" in result:
            kind = StageInterrupted if result["may_pass"] else StageFailed
            raise kind(result["error"])
        return staged_version(request.name, request.into / result["digest"])
    except (IndexError, ValueError, TypeError, KeyError):
        reason = f"the staging process ended with code {code}"
        raise StageInterrupted(reason) from None
