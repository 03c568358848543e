"""A service over a shared tier with every kind of fault."""

import os
import random
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from gomlx import Client
from gomlx.client.local.client_model import ClientModel
from tests.client.fake import QUIET
from tests.support import saved_models
from tests.support.redis_servers import Server, server
from tests.support.relay import Relay
from tests.support.service import Service, running, wait_for


class SteadyLoad:
    """Sends requests all the time, repeated rows among new ones, and checks replies."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._stop = threading.Event()
        self._random = random.Random(7)
        self.wrong: list[str] = []
        self.requests = 0
        self.longest = 0.0
        self.tiers: set[str] = set()

    def __enter__(self) -> "SteadyLoad":
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        with self._service.connect() as client:
            while not self._stop.is_set():
                self._predict(client, self._next())

    def _next(self) -> float:
        is_new = self._random.choice([False, True])
        return self._random.random() if is_new else float(self._random.randrange(9))

    def _predict(self, client: httpx.Client, x: float) -> None:
        started = time.monotonic()
        reply = client.post("/v1/api/model/m/eval", json={"x": x})
        self.longest = max(self.longest, time.monotonic() - started)
        self.requests += 1
        self.tiers.add(reply.headers.get("cache-status", ""))
        if reply.status_code != 200 or abs(reply.json()["data"]["y"] - 2 * x) > 1e-5:
            self.wrong.append(f"{x}: {reply.status_code} {reply.text}")

    def wait_for_requests(self, requests: int) -> None:
        """Return after so many more requests."""
        goal = self.requests + requests
        wait_for(lambda: self.requests >= goal, what="requests to be answered")

    def wait_for_hits(self) -> None:
        """Return when the tier answers again."""
        self.tiers.clear()
        # A copy: the thread adds to it meanwhile.
        wait_for(lambda: any("near" in tier for tier in set(self.tiers)), what="hits")


class Faulty:
    """A service without L1, so that each row is looked up in Redis; and that Redis."""

    def __init__(self, service: Service, redis: Server, relay: Relay) -> None:
        self.service = service
        self.redis = redis
        self.relay = relay


def config_of(source: Path, url: str, patience: float = 0.3) -> dict[str, Any]:
    """A model `m` whose answers are kept in Redis only."""
    store = {"id": "s", "memory_mb": 0, "tiers": [{"connection": "near"}]}
    return {
        "models": [{"id": "m", "url": str(source), "datastore": "s"}],
        "datastores": [store],
        "connections": [{"id": "near", "url": url, "timeout_seconds": patience}],
    }


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Faulty]:
    folder = tmp_path_factory.mktemp("faulty")
    source = saved_models.scale(folder / "model", 2.0)
    with server(folder / "redis") as redis, Relay(redis.port) as relay:
        config = config_of(source, f"redis://127.0.0.1:{relay.port}/0")
        (folder / "service").mkdir()
        with running(folder / "service", config) as service:
            yield Faulty(service, redis, relay)


@contextmanager
def killed(faulty: Faulty) -> Iterator[None]:
    """Redis ends, and comes back empty on another port."""
    faulty.redis.process.kill()
    faulty.redis.process.wait()
    yield


@contextmanager
def stopped(faulty: Faulty) -> Iterator[None]:
    os.kill(faulty.redis.process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(faulty.redis.process.pid, signal.SIGCONT)


@contextmanager
def slow(faulty: Faulty) -> Iterator[None]:
    faulty.relay.delay_seconds = 0.2
    yield
    faulty.relay.delay_seconds = 0


@contextmanager
def full(faulty: Faulty) -> Iterator[None]:
    faulty.redis.execute("CONFIG", "SET", "maxmemory", "1")
    yield
    faulty.redis.execute("CONFIG", "SET", "maxmemory", "0")


@contextmanager
def read_only(faulty: Faulty) -> Iterator[None]:
    """It has become the replica of a master that is not there."""
    faulty.redis.execute("REPLICAOF", "127.0.0.1", "1")
    yield
    faulty.redis.execute("REPLICAOF", "NO", "ONE")


@contextmanager
def flushed(faulty: Faulty) -> Iterator[None]:
    for _ in range(20):
        faulty.redis.execute("FLUSHALL")
        time.sleep(0.02)
    yield


@contextmanager
def garbage(faulty: Faulty) -> Iterator[None]:
    """Something other than Redis answers: bytes that mean nothing, or too much."""
    noise = [
        b"\x00\xff" * 50,
        b"$-7\r\n",
        b"*1000000000\r\n",
        b"+OK\r\n" * 9,
        b"HTTP/1.1",
    ]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        done = threading.Event()

        def answer() -> None:
            n = 0
            while not done.is_set():
                with suppress(OSError):
                    peer, _ = listener.accept()
                    with peer:
                        peer.settimeout(0.2)
                        peer.recv(100)
                        peer.sendall(noise[n % len(noise)])
                        peer.recv(100)
                n += 1

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        faulty.relay.target = listener.getsockname()[1]
        faulty.redis.execute("CLIENT", "KILL", "TYPE", "normal")
        yield
        done.set()
        thread.join(10)
    faulty.relay.target = faulty.redis.port


FAULTS = (stopped, slow, full, read_only, flushed, garbage)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_no_request_fails_and_no_answer_is_wrong(faulty: Faulty, fault: Any) -> None:
    with SteadyLoad(faulty.service) as load:
        load.wait_for_hits()
        with fault(faulty):
            load.wait_for_requests(300)
        load.wait_for_hits()
    assert load.wrong == []


def test_a_redis_that_is_killed_and_started_again(
    faulty: Faulty, tmp_path: Path
) -> None:
    with server(tmp_path / "first") as first, SteadyLoad(faulty.service) as load:
        faulty.relay.target = first.port
        faulty.redis.execute("CLIENT", "KILL", "TYPE", "normal")
        load.wait_for_hits()
        first.process.kill()
        first.process.wait()
        load.wait_for_requests(300)
        with server(tmp_path / "second", port=first.port):
            load.wait_for_hits()
            faulty.relay.target = faulty.redis.port
        load.wait_for_hits()
    assert load.wrong == []


CLOSED = {"state": "closed"}
POISON = (
    "",
    "null",
    "{}",
    '{"y":2',
    '{"z":3.0}',
    '{"y":"3.0"}',
    '{"y":3.0,"z":1}',
    '{"y":[3.0]}',
    '[{"y":3.0}]',
    '{"y":3.0}\n{"y":4.0}',
    "\x00" * 100,
    "[" * 100_000,
    '{"y":' + "9" * (2 << 20) + "}",
)


@pytest.mark.parametrize("poison", POISON, ids=range(len(POISON)))
def test_a_poisoned_value_never_reaches_an_answer(faulty: Faulty, poison: str) -> None:
    row = {"x": 1234.5}
    with Client("m", faulty.service.url, options=QUIET) as client:
        client.predict(row)
        assert client.contract
        (name,) = ClientModel(client.contract, QUIET).shared_names([(row["x"],)])

    def is_a_miss() -> bool:
        faulty.redis.execute("SET", name.decode(), poison)
        reply = faulty.service.post("m", row)
        assert reply.status_code == 200
        assert reply.json()["data"] == {"y": 2469.0}
        return "near" not in reply.headers["cache-status"]

    wait_for(is_a_miss)  # at once, but for an answer that was still to be written

    def is_replaced() -> bool:
        """Repeat: a late look-up may have deleted the new value."""
        wait_for_hit(faulty, row)
        return bool(faulty.redis.execute("GET", name.decode()) == '{"y":2469.0}')

    wait_for(is_replaced)


def wait_for_hit(faulty: Faulty, row: Any) -> None:
    """Return when a row is a hit in the tier."""
    wait_for(lambda: "near" in faulty.service.post("m", row).headers["cache-status"])


def test_the_state_of_a_tier_is_shown(faulty: Faulty) -> None:
    def shown() -> Any:
        return faulty.service.ready()["tiers"]["s"]["near"]

    wait_for(lambda: faulty.service.post("m", {"x": 1}) and shown() == CLOSED)
    with slow(faulty), SteadyLoad(faulty.service):
        wait_for(lambda: shown()["state"] == "open")
        wait_for(lambda: "no answer in 5 ms" in shown().get("problem", ""))
        wait_for(lambda: faulty.service.metric("gomlx_tier_state", tier="near") == 2)
        assert faulty.service.ready()["ready"]  # it is only slower without
    with SteadyLoad(faulty.service):
        wait_for(lambda: shown() == CLOSED)
        with full(faulty):
            wait_for(lambda: "not allowed" in shown().get("writes", ""))
        wait_for(lambda: shown() == CLOSED)


def test_a_graceful_stop_writes_the_queue(tmp_path: Path) -> None:
    source = saved_models.scale(tmp_path / "model", 2.0)
    with server(tmp_path / "redis") as redis:
        with running(tmp_path, config_of(source, redis.url, 30.0)) as service:
            column = [float(n) for n in range(4000)]
            reply = service.post("m", {"batch_size": len(column), "x": column})
            assert reply.status_code == 200
            service.stop()
            assert redis.execute("DBSIZE") == len(column)
