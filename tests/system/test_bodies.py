"""Large bodies, on every route and protocol: whole, in small parts, and too many."""

import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

import pytest

from tests.server.http.http2.client import Client
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

_LARGE = b'{"x":1%b}' % (b" " * 900_000)
_HEAD = b"POST /v1/api/model/m/%b HTTP/1.1\r\nhost: h\r\n%b\r\n"
_CHUNKED = b"transfer-encoding: chunked\r\n"


def chunks(body: bytes, size: int) -> list[bytes]:
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]


def plain(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


# What begins a request, how its body goes on, and what ends it.
_LENGTH = b"content-length: %d\r\n" % len(_LARGE)
_WAYS = {
    "HTTP/1.1": (_HEAD % (b"eval", _LENGTH), plain, b""),
    "chunked": (_HEAD % (b"eval", _CHUNKED), chunks, b"0\r\n\r\n"),
    "a line": (_HEAD % (b"stream", _CHUNKED), chunks, b"1\r\n\n\r\n0\r\n\r\n"),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("bodies")
    saved_models.scale(folder / "model", 2.0)
    config = {
        "models": [{"id": "m", "url": "./model"}],
        "endpoint": {"max_bodies_mb": 1, "receive_seconds": 60},
    }
    with running(folder, config) as service:
        yield service


class Upload:
    """A request that has been begun."""

    def __init__(self, service: Service, way: str) -> None:
        port = int(service.url.rpartition(":")[2])
        self.peer = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.received = b""
        first, self._parts, self._end = _WAYS[way]
        self.peer.sendall(first)

    def send(self, body: bytes, size: int = 10_000) -> None:
        self.peer.settimeout(0.001)
        for part in self._parts(body, size):
            self._send(part)

    def _send(self, part: bytes) -> None:
        """Send, and read windows meanwhile; a peer that refuses may have closed."""
        try:
            while part:
                try:
                    part = part[self.peer.send(part) :]
                except TimeoutError:
                    self.read()
        except ConnectionError:
            return

    def read(self) -> bytes:
        with suppress(TimeoutError, ConnectionError):
            self.received += self.peer.recv(65_536)
        return self.received

    def finish(self) -> None:
        self._send(self._end)

    def until(self, text: bytes) -> None:
        wait_for(lambda: text in self.read(), 30, f"{text!r} in {self.received!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.peer.close()


class Http2Upload(Upload):
    """One over HTTP/2, in frames as the windows of the service allow."""

    def __init__(self, service: Service, way: str) -> None:
        port = int(service.url.rpartition(":")[2])
        self.peer = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._client = Client()
        self._client.start()
        self._number = self._client.begin("POST", "/v1/api/model/m/eval")

    @property
    def received(self) -> bytes:  # type: ignore[override]  # it is what the engine has
        return self._client.answers[self._number].body

    def send(self, body: bytes, size: int = 10_000) -> None:
        for at in range(0, len(body), size):
            self._client.h2.send_data(self._number, body[at : at + size])
        self.read()

    def read(self) -> bytes:
        """Send what the windows allow, and read until nothing comes for a moment."""
        self.peer.settimeout(0.1)
        with suppress(TimeoutError, ConnectionError):
            while True:
                self.peer.sendall(self._client.h2.data_to_send())
                if not (data := self.peer.recv(65_536)):
                    break
                self._client.receive(data)
        return self.received

    def finish(self) -> None:
        self._client.h2.send_data(self._number, b"", end_stream=True)


def upload(service: Service, way: str) -> Upload:
    kind = Http2Upload if way == "HTTP/2" else Upload
    return kind(service, way)


def the_other(first: Upload, second: Upload) -> Upload:
    """Wait until one of two is refused: the one that the service reads last."""

    def refused() -> Upload | None:
        text = b"endpoint.max_bodies_mb"
        return next((one for one in (first, second) if text in one.read()), None)

    return second if wait_for(refused) is first else first


@pytest.mark.parametrize("size", [500, 16_000])
@pytest.mark.parametrize("way", [*_WAYS, "HTTP/2"])
def test_a_large_body_in_small_parts(service: Service, way: str, size: int) -> None:
    with upload(service, way) as one:
        one.send(_LARGE, size)
        one.finish()
        one.until(b'"data":{"y":2.0}')


@pytest.mark.parametrize("way", [*_WAYS, "HTTP/2"])
def test_bodies_over_the_limit_of_all(service: Service, way: str) -> None:
    with Upload(service, "HTTP/1.1") as first, upload(service, way) as second:
        first.send(_LARGE[:800_000])
        second.send(_LARGE[:800_000])
        other = the_other(first, second)
        assert service.post("m", {"x": 3}).json()["data"] == {"y": 6.0}
        other.send(_LARGE[800_000:])
        other.finish()
        other.until(b'"data":{"y":2.0}')
    with upload(service, way) as third:
        third.send(_LARGE)
        third.finish()
        third.until(b'"data":{"y":2.0}')


def test_a_refusal_says_when_to_try_again(service: Service) -> None:
    with Upload(service, "chunked") as first, Upload(service, "chunked") as second:
        first.send(_LARGE[:800_000])
        second.send(_LARGE[:800_000])
        # The service may read either of them first.
        text = b"endpoint.max_bodies_mb"
        both = [first, second]
        (refused, *_) = wait_for(lambda: [one for one in both if text in one.read()])
        assert refused.received.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in refused.received.lower()
