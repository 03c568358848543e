"""A service with TLS that requires client certificates: two protocols on one port."""

import itertools
import json
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from gomlx import Client, Options
from tests.server.duplex import Http1, Http2, connected
from tests.server.many_streams import ask_at_once
from tests.support import saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, running, wait_for

EVAL = "/v1/api/model/scale/eval"
POST = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"
PROTOCOLS = {"HTTP/1.1": Http1, "HTTP/2": Http2}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Endpoint:
    return Endpoint(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, files: Endpoint
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("tls")
    saved_models.scale(folder / "scale", 2.0)
    saved_models.sleeper(folder / "slow")
    tls = files.config(
        client_ca=str(files.ca), client_certificate="required", minimum_version="1.3"
    )
    models = [{"id": m, "url": f"./{m}", "datastore": "s"} for m in ("scale", "slow")]
    config = {
        "endpoint": {"tls": tls},
        "models": models,
        "datastores": [{"id": "s", "memory_mb": 16}],
    }
    with running(folder, config, trust=files.trust()) as service:
        yield service
        assert "Traceback" not in service.text()
        assert "eof_received" not in service.text()  # what asyncio would warn of


@pytest.fixture
def dial(service: Service, files: Endpoint) -> Iterator[Callable[..., ssl.SSLSocket]]:
    """A function that connects."""
    made: list[ssl.SSLSocket] = []

    def dial(protocol: str = "http/1.1") -> ssl.SSLSocket:
        made.append(connected(service.url, files.trust(), protocol))  # type: ignore[arg-type]
        return made[-1]

    yield dial
    for one in made:
        one.close()


def received(peer: ssl.SSLSocket, answers: int) -> bytes:
    """Read until so many answers of HTTP/1.1 are complete."""
    data = bytearray()
    while answers > 0:
        more = peer.recv(1 << 16)
        assert more, "the server closed the connection"
        data += more
        seen = data[-len(more) - 1 :]  # an end may be cut in two
        answers -= seen.count(b"}}") + seen.count(b"]}")
    return bytes(data)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_all_routes_on_one_connection(
    service: Service, files: Endpoint, protocol: str
) -> None:
    """Over HTTP/1.1 it begins on the hot protocol, and is handed over."""
    x = 1.5 if protocol == "HTTP/2" else 2.5
    with httpx.Client(
        base_url=service.url,
        verify=files.trust(),
        http2=protocol == "HTTP/2",
        limits=httpx.Limits(max_connections=1),
    ) as client:
        found = [
            client.post(EVAL, json={"x": x}),
            client.get(EVAL, params={"x": x}),
            client.post(EVAL, content=iter([b'{"x":', b"%f}" % x])),  # in chunks
            client.get(EVAL, params={"x": x}),
        ]
        readyz = client.get("/readyz")
        missing = client.get("/nowhere")
    assert {one.http_version for one in (*found, readyz, missing)} == {protocol}
    assert [one.json()["data"] for one in found] == [{"y": 2 * x}] * 4
    assert "; hit" in found[3].headers["cache-status"]
    tls = {"certificate_expires": "3000-01-01T00:00:00Z"}
    assert (readyz.status_code, readyz.json()["tls"]) == (200, tls)
    assert missing.status_code == 404


def test_metrics_show_when_the_certificate_expires(service: Service) -> None:
    name = "gomlx_tls_certificate_expiry_timestamp_seconds"
    assert service.metric(name) == ssl.cert_time_to_seconds("Jan 1 00:00:00 3000 GMT")
    assert service.metric("gomlx_tls_up") == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_answer_is_read_before_the_next_row_is_sent(
    service: Service, files: Endpoint, protocol: str
) -> None:
    client: Any = PROTOCOLS[protocol](service.url, "scale", files.trust())
    for n in range(20):
        client.send(b'{"x":%d}\n' % n)
        assert client.line()["data"] == {"y": 2.0 * n}
    client.end()
    assert client.line() is None
    client.close()


def test_a_hundred_requests_at_once_on_one_connection(
    dial: Callable[..., ssl.SSLSocket],
) -> None:
    for x, data in ask_at_once(dial("h2"), EVAL, 100).items():
        assert data == {"y": 2.0 * x}


@pytest.mark.parametrize(
    ("has_one", "why"), [(False, "CERTIFICATE_REQUIRED"), (True, "UNKNOWN_CA")]
)
def test_a_peer_without_a_certificate_of_ours_is_refused(
    service: Service, files: Endpoint, tmp_path: Path, has_one: bool, why: str
) -> None:
    context = files.trust(False)
    if has_one:
        context.load_cert_chain(Endpoint(tmp_path).client)
    with pytest.raises(httpx.TransportError, match=why):
        httpx.get(f"{service.url}/livez", verify=context)


def test_an_older_version_than_the_least_is_refused(
    service: Service, files: Endpoint
) -> None:
    context = files.trust()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(httpx.ConnectError, match="PROTOCOL_VERSION"):
        httpx.get(f"{service.url}/livez", verify=context)


def test_what_is_not_tls_is_refused(service: Service) -> None:
    address = httpx.URL(service.url)
    for data in (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n"):
        with socket.create_connection((address.host, address.port), 10) as peer:
            peer.sendall(data)
            reply = b""
            with suppress(ConnectionResetError):
                while more := peer.recv(1000):
                    reply += more
        assert b"HTTP" not in reply
    assert service.get("/livez").status_code == 200


@pytest.mark.parametrize("with_close_notify", [False, True])
def test_abandoned_work_is_dropped(
    service: Service, dial: Callable[..., ssl.SSLSocket], with_close_notify: bool
) -> None:
    before = service.metric("gomlx_requests_canceled_total", model="slow")
    news = itertools.count(1000 + 1_000_000 * with_close_notify)

    def one_is_canceled() -> bool:
        peer = dial()
        rows = [float(next(news)) for _ in range(30)]
        body = json.dumps({"batch_size": len(rows), "x": rows}).encode()
        peer.sendall(POST % (b"/v1/api/model/slow/eval", len(body), body))
        if with_close_notify:
            # Sends close_notify, as TLS requires. The answer may come first: this try
            # has then failed to abandon it.
            with suppress(ssl.SSLError):
                peer.unwrap()
        peer.close()
        return service.metric("gomlx_requests_canceled_total", model="slow") > before

    wait_for(one_is_canceled)  # the first, unless it was answered before that


def test_a_peer_that_does_not_read_is_not_read_from(
    dial: Callable[..., ssl.SSLSocket],
) -> None:
    """Requests of 100 kB, and answers of 30 kB that the peer does not read at first."""
    peer = dial()
    size = 2000
    sent = 0
    body = json.dumps({"batch_size": size, "x": [float(n) for n in range(size)]})
    request = POST % (EVAL.encode(), 100_000, body.encode().ljust(100_000))
    stopped = threading.Event()

    def send() -> None:
        nonlocal sent
        while not stopped.is_set():
            peer.sendall(request)
            sent += 1

    def is_stuck() -> bool:
        before = sent
        return not stopped.wait(0.5) and before == sent > 0

    with ThreadPoolExecutor(1) as pool:
        sending = pool.submit(send)
        wait_for(is_stuck, what="the server to stop reading")
        stopped.set()
        count = sent
        answers = received(peer, count).count(b"]}")
        sending.result()  # the one that it was stuck in, if it was
        received(peer, sent - answers)


def serial(peer: ssl.SSLSocket) -> str:
    shown = peer.getpeercert()
    assert shown
    return str(shown["serialNumber"])


def predict(peer: ssl.SSLSocket, x: float) -> Any:
    body = b'{"x":%f}' % x
    peer.sendall(POST % (EVAL.encode(), len(body), body))
    return json.loads(received(peer, 1).partition(b"\r\n\r\n")[2])["data"]["y"]


def test_a_new_certificate_is_for_new_connections(
    service: Service, files: Endpoint, dial: Callable[..., ssl.SSLSocket]
) -> None:
    peer = dial()
    first = serial(peer)
    files.issue()
    wait_for(lambda: serial(dial()) != first)
    second = serial(dial())
    files.certificate.write_text(files.certificate.read_text()[:300])
    wait_for(lambda: "the certificate in use stays" in service.text())
    assert serial(dial()) == second
    assert service.metric("gomlx_tls_up") == 0
    assert "certificate" in service.ready()["tls"]["problem"]
    files.issue()
    wait_for(lambda: serial(dial()) not in (first, second))
    lines = service.text().splitlines()
    cut = "the certificate in use stays", "expected certificates in PEM form"
    assert sum(all(words in line for words in cut) for line in lines) == 1
    assert service.metric("gomlx_tls_up") == 1
    assert [predict(peer, 4), predict(dial(), 5)] == [8.0, 10.0]


@pytest.mark.parametrize("http2", [False, True])
def test_our_own_client(service: Service, files: Endpoint, http2: bool) -> None:
    options = Options(http2=http2, ca_file=str(files.ca), cert_file=str(files.client))
    with Client("scale", service.url, options=options) as client:
        assert client.predict(x=20.0 + http2) == {"y": 40.0 + 2 * http2}
        xs = [30.0 + http2 + n for n in range(500)]
        assert client.predict_batch({"x": xs}) == [{"y": 2 * x} for x in xs]


def test_a_graceful_stop_answers_what_it_has_received(
    service: Service, files: Endpoint, dial: Callable[..., ssl.SSLSocket]
) -> None:
    """The last test: it ends the service."""
    service.client.close()
    stream = Http2(service.url, "slow", files.trust())
    peer = dial()
    stream.send(b'{"x":50}\n')
    assert stream.line()
    stream.send(b"".join(b'{"x":%d}\n' % n for n in range(60, 70)))
    body = json.dumps({"batch_size": 10, "x": [*range(70, 80)]}).encode()
    peer.sendall(POST % (b"/v1/api/model/slow/eval", len(body), body))
    service.process.send_signal(signal.SIGTERM)
    lines = iter(stream.line, None)
    assert [line["data"]["y"] for line in lines] == [*map(float, range(60, 70))]
    reply = received(peer, 1).partition(b"\r\n\r\n")[2]
    assert json.loads(reply)["data"] == [{"y": float(x)} for x in range(70, 80)]
    assert peer.recv(1) == b""
    peer.close()
    stream.close()
    assert service.process.wait(120) == 0
