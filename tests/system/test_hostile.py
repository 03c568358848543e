"""Whatever a client sends or does, it gets a clear error and makes no traceback."""

import random
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from gomlx.runtime.sandbox import _version
from tests.support import saved_models
from tests.support.service import Service, running

_FILES = 256
_LIMITED = ["bash", "-c", f'ulimit -n {_FILES}; exec "$@"', "limited"]
_HOST = b"host: h\r\n"
_BODY = b'content-length: 7\r\n\r\n{"x":1}'
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: closing resets


def post(*headers: bytes, rest: bytes = _BODY, route: bytes = b"eval") -> bytes:
    lines = b"".join(header + b"\r\n" for header in headers)
    line = b"POST /v1/api/model/m/%b HTTP/1.1\r\n" % route
    return line + _HOST + lines + rest


def upgrade(settings: bytes = b"AAMAAABkAAQAAP__", route: bytes = b"eval") -> bytes:
    return post(
        b"upgrade: h2c",
        b"connection: upgrade, http2-settings",
        b"http2-settings: " + settings,
        route=route,
    )


_WEBSOCKET = (
    b"GET /v1/api/health HTTP/1.1\r\n" + _HOST + b"upgrade: websocket\r\n"
    b"connection: upgrade\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"sec-websocket-version: 13\r\n\r\n"
)
_REQUESTS = {
    "a timeout of 0s": (post(b"request-timeout-ms: " + b"0" * 5000), 400),
    "a timeout of 0s and 9": (
        post(b"request-timeout-ms: " + b"0" * 5000 + b"9000"),
        200,
    ),
    "a timeout of 9s": (post(b"request-timeout-ms: " + b"9" * 5000), 400),
    "a timeout that is no ASCII": (post(b"request-timeout-ms: \xb2"), 400),
    "a length of 9s": (post(rest=b"content-length: " + b"9" * 5000 + b"\r\n\r\n"), 400),
    "a length of 0s": (post(rest=b"content-length: " + b"0" * 5000 + b"\r\n\r\n"), 400),
    "a websocket": (_WEBSOCKET, 403),
    "a websocket without a key": (post(b"upgrade: websocket"), 200),
    "an upgrade to the unknown": (post(b"upgrade: x", b"connection: upgrade"), 200),
    "HTTP/2 without its settings": (upgrade(b"!!!"), 200),
    "HTTP/2": (upgrade(), 101),
    "a type that is no text": (post(b"content-type: \xff/\xff"), 200),
    "a proxy's method": (b"CONNECT h:1 HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
    "a path that is no text": (b"GET /%00/\xff HTTP/1.1\r\n" + _HOST + b"\r\n", 400),
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("hostile")
    saved_models.scale(folder / "model", 2.0)
    config = {"models": [{"id": "m", "url": "./model"}]}
    with running(folder, config, _LIMITED) as service:
        yield service


def connected(service: Service) -> socket.socket:
    port = int(service.url.rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def status_of(service: Service, request: bytes) -> int:
    with connected(service) as peer:
        peer.sendall(request)
        return int(peer.recv(4096).split(b" ")[1])


def makes_no_traceback(service: Service) -> bool:
    assert status_of(service, post()) == 200
    return "Traceback" not in service.text()


@pytest.mark.parametrize("name", _REQUESTS)
def test_each_request_has_a_status(service: Service, name: str) -> None:
    request, status = _REQUESTS[name]
    assert status_of(service, request) == status
    assert makes_no_traceback(service)


def test_clients_that_leave_at_any_moment_make_no_traceback(service: Service) -> None:
    chosen = random.Random(1)
    upgrades = [
        upgrade(route=route) + rest
        for route in (b"eval", b"stream", b"meta/config")
        for rest in (b"", _PREFACE)
    ]
    requests = [*[request for request, _ in _REQUESTS.values()], _PREFACE, *upgrades]
    for _ in range(600):
        request = chosen.choice(requests)
        with connected(service) as peer:
            if chosen.random() < 0.7:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            peer.sendall(request[: chosen.randrange(len(request) + 1)])
            if chosen.random() < 0.3:
                peer.settimeout(chosen.uniform(0.0001, 0.004))
                try:
                    peer.recv(100)
                except (TimeoutError, ConnectionError):
                    continue
    assert makes_no_traceback(service)


def answered(peer: socket.socket) -> bytes:
    """Return the status of an answer; empty if the connection has made room."""
    try:
        peer.sendall(post())
        return peer.recv(4096)[9:12]
    except ConnectionError:
        return b""


def test_connections_leave_files_for_all_else(service: Service) -> None:
    """More connections than files: the first make room, and the last are answered."""
    assert f"may open files for {_FILES - 128} connections" in service.text()
    peers = [connected(service) for _ in range(_FILES)]
    try:
        assert answered(peers[-1]) == b"200"  # it was accepted after all others
        statuses = [answered(peer) for peer in peers[:-1]]
        assert set(statuses) == {b"", b"200"}
        assert statuses[0] == b""
    finally:
        for peer in peers:
            peer.close()
    assert makes_no_traceback(service)
    assert "Too many open files" not in service.text()


def test_workers_write_to_the_folders_of_the_service_only(service: Service) -> None:
    """The kernel says which processes may gain no rights: a condition of Landlock."""
    if _version() < 1:
        pytest.skip("the kernel has no Landlock")
    for pid in service.worker_pids():
        status = Path(f"/proc/{pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status
