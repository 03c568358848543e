"""The worker's side of an isolated model: a graph that runs in another process.

It stands for what `load_here` returns: arrays in, arrays out. One run goes on at a
time. A process that dies, or that a run keeps for longer than run_seconds, is replaced
at once: only the rows of that run fail. One that cannot start is tried again by later
runs, less and less often.
"""

import fcntl
import logging
import mmap
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gomlx.errors import RunFailed, RunOutlasted
from gomlx.models.isolation.frames import BadFrame, Frames, ReportedError
from gomlx.models.isolation.spawner import Assignment, Spawner

log = logging.getLogger(__name__)

RESTARTED = "restarted"
OUTLASTED = "outlasted"
LOST = "lost"
_OUT_OF_MEMORY = "OOM when allocating"  # TensorFlow's word, after 10 s of attempts
_SHARED_BYTES = 64 << 20  # taken as far as they are used
_LOAD_SECONDS = 120.0
_MOST_PAUSE_SECONDS = 30.0
# Or the other process could make the memory smaller, and reading it would end this one.
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


@dataclass
class _Child:
    """A process, which has said that it is ready or has yet to."""

    pid: int
    frames: Frames
    is_ready: bool = False


class IsolatedGraph:
    """Runs a version's graph in a process of its own. Any thread may call it.

    report is called with RESTARTED for each process but the first, and with OUTLASTED
    for each run that takes longer than run_seconds, in the thread of the run; with LOST
    when no process can be started any more, until the worker is replaced.
    """

    def __init__(
        self,
        spawner: Spawner,
        assignment: Assignment,
        run_seconds: float,
        report: Callable[[str], None] = lambda event: None,
    ) -> None:
        """Start a process, and wait until it has loaded the graph.

        Raises RunFailed.
        """
        self._spawner = spawner
        self._assignment = assignment
        self._run_seconds = run_seconds
        self._report = report
        self._lock = threading.Lock()  # of a run, and of what follows
        self._failures = 0  # to start, one after the other
        self._waits_until = 0.0
        self._child: _Child | None = self._start()
        self._await(self._child)

    def __call__(self, *arrays: Any) -> list[Any]:
        """Run the graph. Raises RunFailed, RunOutlasted."""
        with self._lock:
            child = self._ready()
            try:
                child.frames.send(arrays, self._run_seconds)
                return child.frames.receive(self._run_seconds)
            except TimeoutError:
                self._replace(child)
                self._report(OUTLASTED)
                raise RunOutlasted.of(self._name, self._run_seconds) from None
            except ReportedError as error:
                message = f"model {self._name!r} failed: {error}"
                if _OUT_OF_MEMORY in message:
                    message += f". {self._allowance}"
                raise RunFailed(message) from None
            except (BadFrame, EOFError, OSError) as error:
                raise self._failed(self._replace(child), error) from None

    def close(self) -> None:
        """End the process. No run may be under way."""
        with self._lock:
            if self._child:
                self._end(self._child)

    @property
    def _name(self) -> str:
        return self._assignment.name

    @property
    def _allowance(self) -> str:
        memory = self._assignment.memory_mb
        return f"It may allocate {memory} MB (isolate.memory_mb of the model)"

    def _ready(self) -> _Child:
        """Return a process that waits for a frame. Raises RunFailed."""
        child = self._child
        if child and child.is_ready and child.frames.has_ended():  # since its last run
            code = self._replace(child)
            log.error("model %s: its process %s", self._name, _fate(code))
            child = self._child
        if child is None:
            now = time.monotonic()
            if now < self._waits_until:
                raise RunFailed(
                    f"model {self._name!r}: its process does not start; it is tried "
                    f"again in {self._waits_until - now:.0f} s. The log says why"
                )
            child = self._restart()
        if not child.is_ready:
            self._await(child)
        return child

    def _start(self) -> _Child:
        ours, theirs = socket.socketpair()
        memory = os.memfd_create("gomlx-run", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(memory, _SHARED_BYTES)
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
            shared = mmap.mmap(memory, _SHARED_BYTES)
            pid = self._spawner.fork(self._assignment, [theirs.fileno(), memory])
        except OSError as error:
            ours.close()
            self._report(LOST)
            reason = f"its process cannot be started: {error}; the worker is replaced"
            raise RunFailed(f"model {self._name!r}: {reason}") from None
        finally:
            theirs.close()
            os.close(memory)
        most_bytes = self._assignment.memory_mb << 20
        return _Child(pid, Frames(ours, shared, most_bytes))

    def _restart(self) -> _Child:
        self._report(RESTARTED)
        self._child = self._start()
        return self._child

    def _await(self, child: _Child) -> None:
        """Wait until a process has loaded the graph. Raises RunFailed."""
        try:
            child.frames.receive(_LOAD_SECONDS)
        except (BadFrame, EOFError, OSError, ReportedError) as error:
            code = self._end(child)
            self._child = None
            pause = min(2.0**self._failures, _MOST_PAUSE_SECONDS)
            self._failures += 1
            self._waits_until = time.monotonic() + pause
            failed = self._failed(code, error, "cannot be loaded: its process")
            log.error("%s", failed)
            raise failed from None
        child.is_ready = True
        self._failures = 0

    def _replace(self, child: _Child) -> int:
        """End a process and start another one; return the code of the old one."""
        code = self._end(child)
        self._child = None
        self._restart()
        return code

    def _end(self, child: _Child) -> int:
        child.frames.close()
        try:
            return self._spawner.end(child.pid)
        except OSError:  # the spawner has ended, and so have its children
            return -signal.SIGKILL

    def _failed(
        self, code: int, error: Exception, what: str = "failed: its process"
    ) -> RunFailed:
        """Return the error of a run, or of a start, that ended the process."""
        if isinstance(error, ReportedError | BadFrame):
            reason = f"{what} says: {error}"
        else:
            reason = f"{what} {_fate(code)}"
        return RunFailed(f"model {self._name!r} {reason}. {self._allowance}")


def _fate(code: int) -> str:
    """Say how a process has ended."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"
