"""Descriptors and memory that processes may not have more of."""

import json
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx

from loadtests.faults.fault import Fault
from loadtests.faults.scene import Scene
from loadtests.load.traffic import LAST
from tests.support.processes import is_running

_SPARE = 3  # descriptors, or megabytes
_CLIENTS = 40
_ROWS = 4000  # of a body of half a megabyte
_BODIES = 20


@contextmanager
def _no_descriptors(scene: Scene) -> Iterator[None]:
    """Workers cannot accept connections; many clients make some."""
    with ExitStack() as stack:
        for pid in scene.service.worker_pids():
            used = max(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())
            stack.enter_context(_limited(pid, resource.RLIMIT_NOFILE, used + _SPARE))
        clients = [stack.enter_context(_connected(scene)) for _ in range(_CLIENTS)]
        assert len(clients) == _CLIENTS
        yield


@contextmanager
def _connected(scene: Scene) -> Iterator[None]:
    with socket.create_connection(("127.0.0.1", scene.port), 5):
        yield


@contextmanager
def _limited(pid: int, kind: int, soft: int) -> Iterator[None]:
    """Lower a limit of a running process."""
    before = resource.prlimit(pid, kind)
    resource.prlimit(pid, kind, (soft, before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, kind, before)


@contextmanager
def _no_address_space(scene: Scene) -> Iterator[None]:
    """Workers can map no more memory, as under `ulimit -v`; large bodies come."""
    workers = {pid: scene.peers([pid]) for pid in scene.service.worker_pids()}
    with ExitStack() as stack:
        for pid in workers:
            stack.enter_context(_limited(pid, resource.RLIMIT_AS, _mapped(pid)))
        _post_large_bodies(scene)
        yield
        for pid, clients in workers.items():
            if not is_running(pid):
                scene.lost |= clients


def _mapped(pid: int) -> int:
    """Return how many bytes of address space a process may have: few more than now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
    return pages * resource.getpagesize() + (_SPARE << 20)


def _post_large_bodies(scene: Scene) -> None:
    """Post bodies whose rows all miss, whatever comes of them."""
    for n in range(_BODIES):
        first = LAST + n * _ROWS
        rows = {"word": ["w1"] * _ROWS, "x": [*range(first, first + _ROWS)]}
        body = json.dumps(rows | {"batch_size": _ROWS}).encode()
        with suppress(httpx.TransportError), scene.service.connect() as client:
            client.post("/v1/api/model/m/eval", content=body)


FAULTS = (
    Fault("descriptors are exhausted", _no_descriptors),
    Fault("address space is exhausted", _no_address_space, refusals=(429, 500, 503)),
)
