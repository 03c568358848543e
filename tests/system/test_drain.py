"""A stop that no client notices: answers go on, and say that connections end."""

import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

import gomlx
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

EVAL = "/v1/api/model/m/eval"


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service with a drain of three seconds."""
    saved_models.scale(tmp_path / "m", 2.0)
    config = {
        "models": [{"id": "m", "url": "m", "datastore": "a"}],
        "datastores": [{"id": "a", "memory_mb": 16}],
        "endpoint": {"workers": 2, "drain_seconds": 3, "graceful_seconds": 5},
    }
    with running(tmp_path, config) as service:
        yield service


class Caller(threading.Thread):
    """Calls all the time, as a balancer's pool does; a new connection where one ends.

    A connection that is refused goes elsewhere: that is the end. failed: what else went
    wrong.
    """

    def __init__(self, service: Service, is_new: bool) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.failed: list[str] = []
        self._service = service
        self._is_new = is_new  # each request has a connection of its own
        self.start()

    def run(self) -> None:
        x = 0.0
        with suppress(httpx.ConnectError):
            while not self.failed:
                with self._service.connect() as client:
                    closes = False
                    while not closes and not self.failed:
                        x += 1.0
                        closes = self._call(client, x) or self._is_new

    def _call(self, client: httpx.Client, x: float) -> bool:
        """Whether the connection ends with this answer."""
        try:
            found = client.post(EVAL, json={"x": x})
        except httpx.ConnectError:
            raise
        except httpx.HTTPError as error:
            self.failed.append(repr(error))
            return True
        if found.json().get("data") != {"y": 2.0 * x}:
            self.failed.append(found.text)
        closes: bool = found.headers.get("connection") == "close"
        self.counts["closed" if closes else "kept"] += 1
        return closes


class Http2Caller(threading.Thread):
    """Calls over HTTP/2 all the time, until the service refuses connections."""

    def __init__(self, service: Service) -> None:
        super().__init__()
        self.answers = 0
        self.failed: list[str] = []
        options = gomlx.Options(http2=True)
        self._client = gomlx.Client("m", service.url, options=options)
        self.start()

    def run(self) -> None:
        with self._client as client:
            while not self.failed:
                x = float(self.answers)
                try:
                    assert client.predict(x=x) == {"y": 2.0 * x}
                except gomlx.NoHost:
                    return
                except (gomlx.GomlxError, AssertionError) as error:
                    self.failed.append(repr(error))
                self.answers += 1


def test_no_client_notices(service: Service) -> None:
    callers = [Caller(service, is_new) for is_new in (False, False, True)]
    other = Http2Caller(service)
    wait_for(lambda: all(one.counts["kept"] > 10 for one in callers))
    wait_for(lambda: other.answers > 10)
    started = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping in 3 s" in service.text())
    draining = {"/livez": (200, None, "close"), "/readyz": (503, True, "close")}
    wait_for(lambda: states(service) == draining)
    assert service.process.wait(60) == 0
    assert time.monotonic() - started >= 3
    everyone: list[Caller | Http2Caller] = [*callers, other]
    for one in everyone:
        one.join(60)
    assert [one.failed for one in everyone] == [[]] * 4
    assert all(one.counts["closed"] for one in callers)
    assert "stopped" in service.text()


def states(service: Service) -> dict[str, tuple[int, Any, str | None]]:
    found = {}
    for path in ("/livez", "/readyz"):
        response = service.get_anew(path)
        draining = response.json().get("draining")
        connection = response.headers.get("connection")
        found[path] = (response.status_code, draining, connection)
    return found


def test_after_the_drain_connections_are_refused(service: Service) -> None:
    """And not held by a socket from which no process accepts any more."""
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as busy:
        busy.sendall(b"POST " + EVAL.encode() + b" HTTP/1.1\r\nhost: h\r\n")
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping: what is under way" in service.text())
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host, int(port)), 5)
        assert service.process.poll() is None
        busy.sendall(b'content-length: 9\r\n\r\n{"x":3.0}')
        answer = busy.recv(4096)
    assert b'{"y":6.0}' in answer
    assert service.process.wait(60) == 0


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_person_does_not_wait(service: Service, signum: int) -> None:
    """Ctrl-C does not drain, and a second SIGTERM ends a drain."""
    if signum == signal.SIGTERM:
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping in" in service.text())
    service.process.send_signal(signum)
    assert service.process.wait(60) == 0
    assert "stopping in" not in service.text() or signum == signal.SIGTERM


def test_a_drain_ends_with_the_workers(service: Service) -> None:
    """A signal to all processes of a service leaves no one to drain."""
    workers = service.worker_pids()
    service.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping in" in service.text())
    master = int(Path(f"/proc/{workers[0]}/stat").read_text().split()[3])
    started = time.monotonic()
    os.kill(master, signal.SIGKILL)
    assert service.process.wait(60) == 0
    assert time.monotonic() - started < 60


def test_the_next_start_does_not_drain(service: Service) -> None:
    assert service.stop() == 0
    service.start()
    assert "draining" not in service.ready()
    assert service.post("m", {"x": 1.0}).headers.get("connection") != "close"
