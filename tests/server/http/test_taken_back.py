"""A connection comes back to the hot protocol, in a whole service; and HTTP/1.0.

Only Gunicorn's answers have a Server header.
"""

import json
import signal
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.server.http.messages import EVAL, post
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

READY = b"GET /readyz HTTP/1.1\r\nhost: h\r\n\r\n"
CHUNKED = (
    b"POST %b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    b'7\r\n{"x":4}\r\n0\r\n\r\n' % EVAL
)


class Answer(NamedTuple):
    """A status, headers with names in lower case, and a body."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_hot(self) -> bool:
        """Whether the hot protocol has sent it."""
        return "server" not in self.headers

    @property
    def y(self) -> float:
        """The output of a hit."""
        assert self.status == 200, self
        y: float = json.loads(self.body)["data"]["y"]
        return y


class Connection:
    """A client's raw connection."""

    def __init__(self, service: Service) -> None:
        url = service.client.base_url
        self.socket = socket.create_connection((url.host, url.port or 0), 30)
        self._received = b""

    def close(self) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in parts:
            self.socket.sendall(part)

    def answer(self, has_body: bool = True) -> Answer:
        """Read one answer, with a Content-Length."""
        head = self._until(b"\r\n\r\n")
        first, *lines = head.decode().rstrip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        headers = {name.lower(): value for name, value in pairs}
        size = int(headers["content-length"]) if has_body else 0
        while len(self._received) < size:
            self._receive()
        body = self._received[:size]
        self._received = self._received[size:]
        return Answer(int(first.split()[1]), headers, body)

    def has_ended(self) -> bool:
        """Whether nothing more comes; waits for it."""
        return not self._received and self.socket.recv(1) == b""

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._receive()
        found, _, self._received = self._received.partition(end)
        return found

    def _receive(self) -> None:
        data = self.socket.recv(1 << 16)
        assert data, "the connection has ended"
        self._received += data


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("taken-back")
    saved_models.scale(folder / "model", 2.0)
    # So few that connections which are never uncounted would soon fill it.
    config = {
        "models": [{"id": "m", "url": "model"}],
        "endpoint": {"max_connections": 5},
    }
    with running(folder, config) as service:
        yield service
        assert "connections are open" not in service.text()


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    with closing(Connection(service)) as connection:
        yield connection


@pytest.mark.parametrize(
    ("other", "status"),
    [
        (READY, 200),
        (b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n", 200),
        (b"GET /nothing HTTP/1.1\r\nhost: h\r\n\r\n", 404),
        (b"DELETE %b HTTP/1.1\r\nhost: h\r\n\r\n" % EVAL, 405),
        (post(b'{"x":4}', path=b"/v1/api/model/other/eval"), 404),
        (CHUNKED, 200),
        (CHUNKED.replace(b'{"x":4}', b'{"x":4,'), 400),
    ],
)
def test_after_an_answer_of_gunicorn(
    connection: Connection, other: bytes, status: int
) -> None:
    for x in (1, 2, 3):
        connection.send(other)
        answer = connection.answer()
        assert (answer.status, answer.is_hot) == (status, False)
        connection.send(post(b'{"x":%d}' % x))
        hit = connection.answer()
        assert (hit.y, hit.is_hot) == (2.0 * x, True)


@pytest.mark.parametrize("path", [b"/livez", b"/readyz"])
def test_a_probe_by_head(connection: Connection, path: bytes) -> None:
    connection.send(b"HEAD %b HTTP/1.1\r\nhost: h\r\n\r\n" % path)
    answer = connection.answer(has_body=False)
    assert answer.status == 200
    assert int(answer.headers["content-length"]) > 0
    connection.send(post(b'{"x":1}'))
    assert connection.answer().is_hot


def test_pipelined_requests(connection: Connection) -> None:
    connection.send((READY + post(b'{"x":1}') + CHUNKED + post(b'{"x":2}')) * 3)
    found = [connection.answer() for _ in range(12)]
    assert [answer.is_hot for answer in found] == [False, True] * 6
    ys = [answer.y for answer in found if b"data" in answer.body]
    assert ys == [2.0, 8.0, 4.0] * 3


def test_requests_byte_by_byte(connection: Connection) -> None:
    text = READY + post(b'{"x":1}') + READY + READY + CHUNKED + post(b'{"x":2}')
    connection.send(*(text[n : n + 1] for n in range(len(text))))
    found = [connection.answer() for _ in range(6)]
    assert [answer.status for answer in found] == [200] * 6
    assert [found[1].y, found[4].y, found[5].y] == [2.0, 8.0, 4.0]
    assert found[5].is_hot


@pytest.mark.parametrize("at", [3, 30, 70, -1])
def test_a_request_that_arrives_in_two_parts(connection: Connection, at: int) -> None:
    request = post(b'{"x":5}')
    # The first part comes right behind another request, and then one by itself.
    connection.send(READY + request[:at])
    assert not connection.answer().is_hot
    connection.send(request[at:])
    assert connection.answer().y == 10.0
    connection.send(READY)
    assert not connection.answer().is_hot
    connection.send(request[:at])
    connection.send(request[at:])
    hit = connection.answer()
    assert (hit.y, hit.is_hot) == (10.0, True)


def test_answers_that_are_not_read_for_a_while(connection: Connection) -> None:
    metrics = b"GET /metrics HTTP/1.1\r\nhost: h\r\n\r\n"
    requests = (metrics * 8 + post(b'{"x":1}')) * 8
    connection.send(requests)
    found = [connection.answer() for _ in range(72)]
    assert [answer.status for answer in found] == [200] * 72
    assert [answer.is_hot for answer in found] == ([False] * 8 + [True]) * 8


def test_a_malformed_request_ends_the_connection(connection: Connection) -> None:
    connection.send(READY + post(b'{"x":1}') + b"\x16\x03\x01 \r\n\r\n")
    assert not connection.answer().is_hot
    assert connection.answer().y == 2.0
    assert connection.answer().status == 400
    assert connection.has_ended()


def test_http_1_0_that_goes_on(connection: Connection) -> None:
    lines = b"connection: keep-alive\r\nhost: h\r\ncontent-length: 7\r\n\r\n"
    for x in range(3):
        connection.send(b'POST %b HTTP/1.0\r\n%b{"x":%d}' % (EVAL, lines, x))
        answer = connection.answer()
        assert (answer.y, answer.is_hot) == (2.0 * x, True)
        assert answer.headers["connection"] == "keep-alive"
    connection.send(post(b'{"x":8}'))
    assert "connection" not in connection.answer().headers


def test_http_1_0_that_ends(connection: Connection) -> None:
    connection.send(b"GET %b?x=3 HTTP/1.0\r\n\r\n" % EVAL)
    answer = connection.answer()
    assert (answer.y, answer.is_hot) == (6.0, True)
    assert answer.headers["connection"] == "close"
    assert connection.has_ended()


def test_a_stop_in_between(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "model", 2.0)
    endpoint = {"drain_seconds": 4, "graceful_seconds": 5}
    config = {"models": [{"id": "m", "url": "model"}], "endpoint": endpoint}
    with running(tmp_path, config) as service:
        connections = [Connection(service) for _ in range(3)]
        for connection in connections:
            connection.send(READY)
            assert connection.answer().status == 200
        service.process.send_signal(signal.SIGTERM)
        wait_for(lambda: "stopping in" in service.text(), 30)
        wait_for(lambda: service.client.get("/readyz").status_code == 503, 30)
        hit, ready, idle = connections
        hit.send(post(b'{"x":1}'))
        answer = hit.answer()
        assert (answer.y, answer.headers["connection"]) == (2.0, "close")
        assert hit.has_ended()
        ready.send(READY)
        answer = ready.answer()
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert ready.has_ended()
        assert idle.has_ended()
        assert service.process.wait(60) == 0
        for connection in connections:
            connection.close()
