"""Clients that are slow, leave, or send nonsense; and more than can be served."""

import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from itertools import count

import httpx

from loadtests.faults.answers import plain_rows
from loadtests.faults.fault import Fault, Offered
from loadtests.faults.scene import Scene
from loadtests.fuzz import malformed
from loadtests.load.traffic import LAST, raw

_SLOW_CLIENTS = 200
_BYTE_SECONDS = 0.05
_THREADS = 4
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: a close is a reset
_REQUEST = raw("/v1/api/model/m/eval", b'{"word":"w1","x":7}')
_KNEE_SECONDS = 1.5
_KNEE_CLIENTS = 8
_TIMES = 3


@contextmanager
def _slow(scene: Scene) -> Iterator[None]:
    """Requests come byte by byte, on many connections."""
    with ExitStack() as stack:
        address = ("127.0.0.1", scene.port)
        clients = [
            stack.enter_context(socket.create_connection(address, 5))
            for _ in range(_SLOW_CLIENTS)
        ]
        at = count()

        def send() -> None:
            byte = next(at) % len(_REQUEST)
            for client in clients:
                client.sendall(_REQUEST[byte : byte + 1])
            time.sleep(_BYTE_SECONDS)

        with _repeated(send, 1):
            yield


@contextmanager
def _gone(scene: Scene) -> Iterator[None]:
    """Clients reset their connections in the middle of requests, or behind them."""
    chance = random.Random(1)

    def leave() -> None:
        with socket.create_connection(("127.0.0.1", scene.port), 5) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.sendall(_REQUEST[: chance.randrange(1, len(_REQUEST) + 1)])

    with _repeated(leave, _THREADS):
        yield


@contextmanager
def _malicious(scene: Scene) -> Iterator[None]:
    """Malformed requests in pipelines."""
    chance = random.Random(1)

    def attack() -> None:
        with socket.create_connection(("127.0.0.1", scene.port), 0.05) as client:
            client.sendall(malformed.stream(chance))
            while client.recv(1 << 16):
                pass

    with _repeated(attack, _THREADS):
        yield


@contextmanager
def _repeated(act: Callable[[], None], threads: int) -> Iterator[None]:
    """Do something again and again, in so many threads."""
    done = threading.Event()

    def repeat() -> None:
        while not done.is_set():
            with suppress(OSError):
                act()

    with ThreadPoolExecutor(threads) as pool:
        for _ in range(threads):
            pool.submit(repeat)
        try:
            yield
        finally:
            done.set()


def _overload(scene: Scene) -> float:
    """Return a rate whose misses are three times as many as can be computed."""
    numbers = count(LAST)
    deadline = time.monotonic() + _KNEE_SECONDS

    def ask(client: httpx.Client) -> int:
        asked = 0
        while time.monotonic() < deadline:
            client.post("/v1/api/model/slow/eval", json={"x": next(numbers)})
            asked += 1
        return asked

    with ExitStack() as stack, ThreadPoolExecutor(_KNEE_CLIENTS) as pool:
        clients = [
            stack.enter_context(scene.service.connect()) for _ in range(_KNEE_CLIENTS)
        ]
        answered = sum(pool.map(ask, clients))
    return _TIMES * answered / _KNEE_SECONDS / (1 - _OVERLOAD_HITS)


@contextmanager
def _nothing(scene: Scene) -> Iterator[None]:
    """The load is the fault."""
    yield


_OVERLOAD_HITS = 0.5
FAULTS = (
    Fault("clients are slow", _slow),
    Fault("clients leave", _gone),
    Fault("clients are malicious", _malicious),
    Fault(
        "three times the load that can be served",
        _nothing,
        longest=5,
        refusals=(429,),
        offered=Offered(
            "slow",
            plain_rows(),
            rate=_overload,
            connections=512,
            hits=_OVERLOAD_HITS,
        ),
    ),
)
