"""An open loop: requests are sent when they are due, whatever the answers do.

Arrivals are Poisson, and a latency counts from the time at which its request was meant
to be sent: a request that had to wait for a free connection has waited. The loop is
plain sockets and epoll, 10 us a request, in a process and on a core of its own, and
reports how late it was itself.
"""

import gc
import re
import select
import socket
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

import numpy as np

from loadtests.load import procfs
from loadtests.load.traffic import Request, Traffic

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
DRAIN_SECONDS = 10.0
_SPIN_SECONDS = 0.002  # epoll's clock has milliseconds


@dataclass(frozen=True)
class Phase:
    """So many seconds of so many requests a second; rate 0: all of `burst` at once."""

    seconds: float
    rate: float
    burst: int = 0


@dataclass
class Samples:
    """Of each request: when it was due, what it took (s), its kind, its status.

    In the order of the answers. status 0: the connection was lost. answers: requests
    and responses, if wanted; late: by how much the loop itself was, of each request.
    """

    due: np.ndarray
    took: np.ndarray
    kind: np.ndarray
    status: np.ndarray
    late: np.ndarray
    answers: list[tuple[bytes, bytes]] = field(default_factory=list)
    unanswered: int = 0


@dataclass(frozen=True)
class Load:
    """What an open loop sends. keeps: return requests and responses, too; until: it
    ends early when this file is there."""

    url: str
    traffic: Traffic
    phases: tuple[Phase, ...]
    connections: int = 64
    keeps: bool = False
    until: Path | None = None


@contextmanager
def started(load: Load, core: Sequence[int]) -> Iterator[Future[Samples]]:
    """Run a loop in another process, on these cores; yield what it will return."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool.submit(_on_core, load, tuple(core))


def run(load: Load, core: Sequence[int]) -> Samples:
    """Run a loop in another process, to its end."""
    with started(load, core) as future:
        return future.result()


def _on_core(load: Load, core: Sequence[int]) -> Samples:
    with procfs.on(core):
        return Loop(load).run()


class _Connection:
    """A connection, and the request that is under way on it."""

    __slots__ = ("due", "kind", "request", "rest", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.due, self.kind, self.request, self.rest = 0.0, 0, b"", b""


class Loop:
    """One run."""

    def __init__(self, load: Load) -> None:
        url = urlsplit(load.url)
        self._address, self._keeps = (url.hostname, url.port), load.keeps
        self._dues = arrivals(load.phases, load.traffic.seed)
        self._requests = load.traffic.requests()
        self._epoll = select.epoll()
        self._by_fd: dict[int, _Connection] = {}
        self._free = [self._connect() for _ in range(load.connections)]
        self._waiting: deque[tuple[float, Request]] = deque()
        self._done: list[tuple[float, float, int, int]] = []
        self._late: list[float] = []
        self._answers: list[tuple[bytes, bytes]] = []
        self._until, self._next_look = load.until, 0.0

    def run(self) -> Samples:
        """Send every request at its time, and wait for the answers."""
        dues, sent = self._dues.tolist(), 0
        gc.collect()
        gc.disable()  # a collection would be taken for the service's latency
        self._start = perf_counter()
        while len(self._done) < len(dues):
            now = perf_counter() - self._start
            if self._is_over(now):
                del dues[sent:]
            if sent < len(dues):
                sent = self._send_due(dues, sent, now)
                left = dues[sent] - now if sent < len(dues) else 1.0
            elif not dues or now > dues[-1] + DRAIN_SECONDS:
                break
            else:
                left = 0.1
            wait = 0.0 if left < _SPIN_SECONDS else left - _SPIN_SECONDS / 2
            for fd, _ in self._epoll.poll(wait):
                self._receive(self._by_fd[fd])
        gc.enable()
        return self._samples(len(dues))

    def _is_over(self, now: float) -> bool:
        if self._until is None or now < self._next_look:
            return False
        self._next_look = now + 0.1
        return self._until.exists()

    def _send_due(self, dues: list[float], sent: int, now: float) -> int:
        """Send what is due; return how many were sent in all."""
        while sent < len(dues) and dues[sent] <= now:
            self._late.append(now - dues[sent])
            self._ask(dues[sent], next(self._requests))
            sent += 1
        return sent

    def _ask(self, due: float, request: Request) -> None:
        if not self._free:
            self._waiting.append((due, request))
            return
        one = self._free.pop()
        one.due, one.kind, one.request = due, request.kind, request.data
        try:
            one.sock.sendall(request.data)
        except OSError:
            self._lost(one)

    def _receive(self, one: _Connection) -> None:
        try:
            data = one.sock.recv(1 << 18)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(one)
            return
        if one.rest:
            data = one.rest + data
        end = data.find(b"\r\n\r\n") + 4
        length = _LENGTH.search(data, 0, end) if end > 3 else None
        if end > 3 and length is None:
            raise ValueError(f"a response without a length: {data[:200]!r}")
        if length is None or len(data) < end + int(length[1]):
            one.rest = data
            return
        one.rest = b""
        if self._keeps:
            self._answers.append((one.request, data))
        self._answered(one, int(data[9:12]))

    def _answered(self, one: _Connection, status: int) -> None:
        now = perf_counter() - self._start
        self._done.append((one.due, now - one.due, one.kind, status))
        self._free.append(one)
        if self._waiting:
            self._ask(*self._waiting.popleft())

    def _lost(self, one: _Connection) -> None:
        """Count a lost connection as an answer, unless no request is open; connect."""
        was_asked = one not in self._free
        if not was_asked:
            self._free.remove(one)
        del self._by_fd[one.sock.fileno()]
        one.sock.close()
        new = self._connect()
        if was_asked:
            if self._keeps:
                self._answers.append((one.request, b""))
            new.due, new.kind = one.due, one.kind
            self._answered(new, 0)
        else:
            self._free.append(new)

    def _connect(self) -> _Connection:
        sock = socket.create_connection(self._address, timeout=5)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        one = _Connection(sock)
        self._by_fd[sock.fileno()] = one
        self._epoll.register(sock, select.EPOLLIN)
        return one

    def _samples(self, sent: int) -> Samples:
        for one in self._by_fd.values():
            one.sock.close()
        table = np.array(self._done, float).reshape(-1, 4)
        due, took, kind, status = table.T
        late = np.array(self._late)
        missing = sent - len(table)
        kinds, codes = kind.astype(int), status.astype(int)
        return Samples(due, took, kinds, codes, late, self._answers, missing)


def arrivals(phases: Iterable[Phase], seed: int) -> np.ndarray:
    """Return when requests are due: Poisson, phase after phase. Seconds."""
    chance, start, found = np.random.default_rng(seed), 0.0, [np.zeros(0)]
    for phase in phases:
        if phase.burst:
            found.append(np.full(phase.burst, start))
        else:
            expected = int(phase.seconds * phase.rate * 1.2) + 50
            times = np.cumsum(chance.exponential(1 / phase.rate, expected))
            found.append(start + times[times < phase.seconds])
        start += phase.seconds
    return np.concatenate(found)
