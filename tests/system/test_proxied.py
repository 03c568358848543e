"""Whose connection and request it is: told by trusted proxies, and by nobody else."""

import json
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, running, wait_for

PROXY = "127.0.0.1"


def config(**endpoint: Any) -> dict[str, Any]:
    return {
        "models": [{"id": "m", "url": "m"}],
        "endpoint": {"proxy_protocol": True, **endpoint},
        "access_log": {"to": "access.jsonl", "sample": 1},
    }


def logged(service: Service, address: str) -> int:
    """How many lines the access log has of an address."""
    return [line["peer"] for line in lines_of(service)].count(address)


def lines_of(service: Service) -> list[dict[str, Any]]:
    """The lines of the access log, which a thread writes some time after answers."""
    files = service.folder.glob("access.?.jsonl")
    return [json.loads(one) for file in files for one in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("proxied")
    saved_models.scale(folder / "m", 2.0)
    tls = Endpoint(folder)
    settings = config(tls=tls.config(), request_id="off")
    with running(folder, settings, trust=tls.trust()) as service:
        yield service


def line(client: bytes) -> bytes:
    return b"PROXY TCP4 %b 127.0.0.1 40000 443\r\n" % client


def binary(client: bytes) -> bytes:
    addresses = socket.inet_aton(client.decode()) + socket.inet_aton("127.0.0.1")
    body = addresses + struct.pack("!HH", 40_000, 443)
    return b"\r\n\r\n\0\r\nQUIT\n" + struct.pack("!BBH", 0x21, 0x11, len(body)) + body


def connected(service: Service) -> socket.socket:
    url = httpx.URL(service.url)
    assert url.port
    return socket.create_connection((url.host, url.port), 30)


def statuses(service: Service, header: bytes, trust: ssl.SSLContext) -> list[int]:
    """Ask for details, and for a prediction, on one connection behind a header."""
    incoming = ssl.MemoryBIO()
    outgoing = ssl.MemoryBIO()
    tls = trust.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    found = []
    with connected(service) as connection:

        def talk(step: Any) -> Any:
            nonlocal header
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    if outgoing.pending or header:  # with the start of the handshake
                        connection.sendall(header + outgoing.read())
                        header = b""
                    data = connection.recv(65_536)
                    assert data, "the connection was closed"
                    incoming.write(data)

        talk(tls.do_handshake)
        for path in (b"/metrics", b"/v1/api/model/m/eval?x=1", b"/metrics"):
            tls.write(b"GET %b HTTP/1.1\r\nhost: h\r\n\r\n" % path)
            answer = b""
            while b"\r\n\r\n" not in answer or not complete(answer):
                connection.sendall(outgoing.read())
                answer += talk(lambda: tls.read(65_536))
            found.append(int(answer.split(b" ", 2)[1]))
    return found


def complete(answer: bytes) -> bool:
    head, _, body = answer.partition(b"\r\n\r\n")
    lengths = [
        x for x in head.lower().split(b"\r\n") if x.startswith(b"content-length")
    ]
    return not lengths or len(body) >= int(lengths[0].partition(b":")[2])


@pytest.mark.parametrize(("make", "client"), [(line, "10.1.2.3"), (binary, "10.1.2.4")])
def test_a_header_before_tls(service: Service, make: Any, client: str) -> None:
    header = make(client.encode())
    assert statuses(service, header, service._trust) == [200, 200, 200]
    wait_for(lambda: logged(service, client) == 3)


def test_a_connection_without_a_header_is_the_proxy_s_own(service: Service) -> None:
    before = logged(service, PROXY)
    assert statuses(service, b"", service._trust) == [200, 200, 200]
    wait_for(lambda: logged(service, PROXY) >= before + 3)


def test_a_malformed_header_ends_the_connection(service: Service) -> None:
    with connected(service) as connection:
        connection.sendall(b"PROXY nothing\r\n")
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
def test_a_forwarded_address(service: Service, name: str) -> None:
    client = f"10.2.0.{len(name)}"
    value = f"for={client}" if name == "Forwarded" else client
    assert service.client.get("/livez", headers={name: value}).status_code == 200
    wait_for(lambda: logged(service, client) == 1)


@pytest.mark.parametrize("path", ["/livez", "/v1/api/model/m/eval?x=1"])
def test_ids_can_be_off(service: Service, path: str) -> None:
    answer = service.client.get(path, headers={"X-Request-Id": "nothing"})
    assert answer.status_code == 200
    assert "x-request-id" not in answer.headers


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded"])
def test_a_forwarded_address_of_a_prediction(service: Service, name: str) -> None:
    client = f"10.3.0.{len(name)}"
    value = f"for=10.9.9.9, for={client}" if name == "Forwarded" else client
    for n in range(3):
        path = f"/v1/api/model/m/eval?x={n}"
        assert service.client.get(path, headers={name: value}).status_code == 200
        assert service.client.get(path).status_code == 200
    wait_for(lambda: logged(service, client) == 3)
    assert not logged(service, "10.9.9.9")


def test_others_are_not_believed(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    with running(tmp_path, config(trusted_proxies=["192.0.2.1"])) as service:
        spoofed = {"X-Forwarded-For": "10.1.2.3", "Forwarded": "for=10.1.2.3"}
        for path in ("/livez", "/v1/api/model/m/eval?x=1"):
            assert service.client.get(path, headers=spoofed).status_code == 200
        with connected(service) as connection:
            request = b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n"
            connection.sendall(line(b"10.1.2.3") + request)
            assert b" 400 " in connection.recv(1000)
        assert service.client.get("/readyz").status_code == 200
        wait_for(lambda: "/readyz" in [line["path"] for line in lines_of(service)])
        assert not logged(service, "10.1.2.3")
