"""Makes processes for isolated models, by forking one that has imported TensorFlow.

    worker ──► spawner, forked before the worker has threads or is confined
                  ├─► child of a version     (child.py)
                  └─► child of another one

A worker that is confined executes nothing, and one with threads must not fork. The
spawner has none of its own, so its children begin at once with what it has imported.

Over a socket that keeps messages apart, JSON of one line each:

    {"fork": ASSIGNMENT} with two file descriptors   ► {"pid": N}
    {"end": N}                                       ► {"code": N}, as waitpid has it

It ends with its worker, and its children with it.
"""

import importlib
import json
import logging
import os
import resource
import signal
import socket
import threading
import warnings
from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from gomlx.runtime.logs import log_descriptor
from gomlx.runtime.process import die_with_parent

log = logging.getLogger(__name__)

_CHILD = "gomlx.models.isolation.child"
_MESSAGE_BYTES = 1 << 16
_IGNORED = (
    signal.SIGHUP,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGUSR1,
    signal.SIGUSR2,
)


@dataclass(frozen=True)
class Assignment:
    """What a child serves.

    directory: of the staged version. threads: TensorFlow's in a run. memory_mb: what it
    may allocate beside TensorFlow itself. is_confined: the kernel is to forbid it
    writing, executing and connecting.
    """

    name: str
    directory: str
    threads: int
    memory_mb: int
    is_confined: bool


class Spawner:
    """The worker's side of its spawner. Any thread may call it."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._lock = threading.Lock()  # of one message and its reply

    @classmethod
    def start(cls) -> "Spawner":
        """Fork the spawner. This process must have no threads, and no event loop."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        worker = os.getpid()
        if os.fork():
            theirs.close()
            return cls(ours)
        try:
            _spawn(theirs, worker)
        except Exception:
            log.exception("cannot start processes for isolated models")
        finally:
            os._exit(0)

    def fork(self, assignment: Assignment, descriptors: Collection[int]) -> int:
        """Start a child with a connected socket and shared memory; return its pid.

        Raises OSError.
        """
        message = {"fork": asdict(assignment)}
        return int(self._ask(message, descriptors)["pid"])

    def end(self, pid: int) -> int:
        """End a child, if it has not ended; return its code, negative for a signal.

        Raises OSError.
        """
        return int(self._ask({"end": pid})["code"])

    def _ask(self, message: Any, descriptors: Collection[int] = ()) -> Any:
        with self._lock:
            data = json.dumps(message).encode()
            socket.send_fds(self._control, [data], [*descriptors])
            reply = self._control.recv(_MESSAGE_BYTES)
        if not reply:
            raise BrokenPipeError("the spawner has ended")
        return json.loads(reply)


def _spawn(control: socket.socket, worker: int) -> None:
    """Serve the worker until it ends. Does not return in a child."""
    for signum in _IGNORED:
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    die_with_parent(worker, signal.SIGKILL)
    _close_all_but({control.fileno(), log_descriptor()})
    os.environ.setdefault("TF_OVERRIDE_GLOBAL_THREADPOOL", "1")
    child = importlib.import_module(_CHILD)
    while True:
        data, descriptors, _, _ = socket.recv_fds(control, _MESSAGE_BYTES, 2)
        if not data:
            return
        message = json.loads(data)
        if "fork" in message:
            pid = _fork(child, control, Assignment(**message["fork"]), descriptors)
            for one in descriptors:
                os.close(one)
            reply = {"pid": pid}
        else:
            reply = {"code": _end(message["end"])}
        control.send(json.dumps(reply).encode())


def _fork(
    child: Any,
    control: socket.socket,
    assignment: Assignment,
    descriptors: list[int],
) -> int:
    spawner = os.getpid()
    with warnings.catch_warnings():
        # Python warns of threads. Those of OpenBLAS and jemalloc are ready for a fork.
        warnings.simplefilter("ignore")
        pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        die_with_parent(spawner, signal.SIGKILL)
        control.close()
        code = child.serve(assignment, *descriptors)
    except Exception:
        log.exception("the process of model %s fails", assignment.name)
    finally:
        os._exit(code)


def _end(pid: int) -> int:
    try:
        os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    except (ChildProcessError, ProcessLookupError):
        return 0
    return os.waitstatus_to_exitcode(status)


def _close_all_but(kept: Collection[int]) -> None:
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    first = 3
    for descriptor in sorted(kept):
        os.closerange(first, descriptor)
        first = max(first, descriptor + 1)
    os.closerange(first, most)
