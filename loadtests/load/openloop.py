"""An open loop: requests are sent when they are due, whatever the responses do.

Arrivals are Poisson. A latency counts from the time at which the request was due, so it
includes the wait for a free connection. The loop is plain sockets and epoll, 10 us a
request, in a process and on a core of its own, and reports how late it was itself.
"""

import gc
import ssl
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

from loadtests.load import procfs
from loadtests.load.connections import Connection, Connections
from loadtests.load.samples import Exchange, Recorder, Sample, Samples
from loadtests.load.traffic import Request, Traffic

DRAIN_SECONDS = 10.0
_SPIN_SECONDS = 0.002  # epoll's clock has milliseconds
_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Phase:
    """So many seconds at so many requests a second. rate 0: `burst` ones at once."""

    seconds: float
    rate: float
    burst: int = 0


@dataclass(frozen=True)
class Load:
    """What an open loop sends.

    keeps_exchanges: requests and responses are returned, too. stop_file: the loop stops
    sending when this file exists. ca: whom connections to an https URL trust.
    """

    url: str
    traffic: Traffic
    phases: tuple[Phase, ...]
    connections: int = 64
    keeps_exchanges: bool = False
    stop_file: Path | None = None
    ca: Path | None = None


@contextmanager
def started(load: Load, cores: Sequence[int]) -> Iterator[Future[Samples]]:
    """Run a loop in another process, on these cores; yield the future samples."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield pool.submit(_run_on, tuple(cores), load)


def run(load: Load, cores: Sequence[int]) -> Samples:
    """Run a loop in another process, on these cores, to its end."""
    with started(load, cores) as future:
        return future.result()


def _run_on(cores: Sequence[int], load: Load) -> Samples:
    with procfs.on(cores):
        return Loop(load).run()


class _StopFile:
    """A file whose existence ends a loop; looked for ten times a second."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._next_look = 0.0

    def exists(self, now: float) -> bool:
        if self._path is None or now < self._next_look:
            return False
        self._next_look = now + _LOOK_SECONDS
        return self._path.exists()


class _Arrival(NamedTuple):
    """A request that is due, and no connection is free."""

    due: float
    request: Request


class Loop:
    """One run of an open loop, in this process. Times are seconds from its start."""

    def __init__(self, load: Load) -> None:
        self._dues: list[float] = arrivals(load.phases, load.traffic.seed).tolist()
        self._requests = load.traffic.requests()
        tls = ssl.create_default_context(cafile=load.ca) if load.ca else None
        self._connections = Connections(load.url, load.connections, tls)
        self._waiting: deque[_Arrival] = deque()
        self._recorder = Recorder(load.keeps_exchanges)
        self._stop_file = _StopFile(load.stop_file)
        self._sent = 0
        self._started = 0.0

    def run(self) -> Samples:
        """Send each request when it is due, and wait for the responses."""
        gc.collect()
        gc.disable()  # a collection would count as latency of the service
        self._started = perf_counter()
        while len(self._recorder) < len(self._dues):
            now = self._elapsed()
            if self._stop_file.exists(now):
                del self._dues[self._sent :]
            self._send_due(now)
            if self._is_drained(now):
                break
            for connection in self._connections.poll(self._idle_seconds(now)):
                self._receive(connection)
            self._send_waiting()
        gc.enable()
        self._connections.close()
        return self._recorder.samples(len(self._dues), self._started)

    def _elapsed(self) -> float:
        return perf_counter() - self._started

    def _is_drained(self, now: float) -> bool:
        """Tell whether all is sent, and responses have had their time."""
        if self._sent < len(self._dues):
            return False
        return not self._dues or now > self._dues[-1] + DRAIN_SECONDS

    def _idle_seconds(self, now: float) -> float:
        """Return how long epoll may wait: a little less than until the next request."""
        if self._sent == len(self._dues):
            return _LOOK_SECONDS
        remaining = self._dues[self._sent] - now
        return 0.0 if remaining < _SPIN_SECONDS else remaining - _SPIN_SECONDS / 2

    def _send_due(self, now: float) -> None:
        while self._sent < len(self._dues) and self._dues[self._sent] <= now:
            due = self._dues[self._sent]
            self._recorder.sent(now - due)
            self._sent += 1
            self._waiting.append(_Arrival(due, next(self._requests)))
        self._send_waiting()

    def _send_waiting(self) -> None:
        while self._waiting and (connection := self._connections.acquire()):
            arrival = self._waiting.popleft()
            try:
                connection.send(arrival.due, arrival.request)
            except OSError:
                self._lost(connection)

    def _receive(self, connection: Connection) -> None:
        try:
            response = connection.receive()
        except OSError:
            self._lost(connection)
            return
        if response is not None:
            self._connections.release(connection)
            self._ended(connection, response, int(response[9:12]))

    def _lost(self, connection: Connection) -> None:
        """Replace a connection. Its open request, if it has one, has failed."""
        was_free = self._connections.replace(connection)
        if not was_free:
            self._ended(connection, b"", 0)

    def _ended(self, connection: Connection, response: bytes, status: int) -> None:
        """Record the end of a request."""
        request = connection.request
        latency = self._elapsed() - connection.due
        sample = Sample(connection.due, latency, request.kind, status)
        exchange = Exchange(request.data, response, connection.port)
        self._recorder.ended(sample, exchange)


def arrivals(phases: Iterable[Phase], seed: int) -> np.ndarray:
    """Return when requests are due, in seconds: Poisson, phase after phase."""
    chance = np.random.default_rng(seed)
    start = 0.0
    found = [np.zeros(0)]
    for phase in phases:
        if phase.burst:
            found.append(np.full(phase.burst, start))
        else:
            expected = int(phase.seconds * phase.rate * 1.2) + 50
            times = np.cumsum(chance.exponential(1 / phase.rate, expected))
            found.append(start + times[times < phase.seconds])
        start += phase.seconds
    return np.concatenate(found)
