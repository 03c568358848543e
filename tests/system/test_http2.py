"""HTTP/2 of a whole service, by ngh2 and by Gunicorn: both answer as HTTP/1.1 does."""

import base64
import json
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ngh2
import pytest

from tests.server.duplex import Http2
from tests.server.http.http2.client import Answer, Client
from tests.server.many_streams import ask_at_once
from tests.support import saved_models
from tests.support.service import Service, running, wait_for

EVAL = "/v1/api/model/scale/eval"
LIMIT = 20_000


@pytest.fixture(scope="module", params=["ngh2", "Gunicorn"])
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("http2")
    hidden = folder / "hidden"
    hidden.mkdir()
    if request.param == "Gunicorn":
        (hidden / "ngh2.py").write_text("raise ImportError('not installed')\n")
    config = {
        "endpoint": {"max_body_bytes": LIMIT, "receive_seconds": 5},
        "models": [
            {
                "id": "scale",
                "url": str(saved_models.scale(folder / "scale", 2.0)),
                "datastore": "answers",
            },
            {"id": "slow", "url": str(saved_models.sleeper(folder / "slow"))},
        ],
        "datastores": [{"id": "answers", "memory_mb": 16}],
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(hidden), prepend=":")
        with running(folder, config) as one:
            (pid,) = one.worker_pids()
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert ("/ngh2/" in maps) == (request.param == "ngh2")
            yield one


class Connected(Client):
    """A client over a blocking socket."""

    def __init__(self, service: Service, settings: Any = None) -> None:
        super().__init__()
        address = service.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((address[0], int(address[1])), 30)
        self.start(settings)
        self.flush()

    def flush(self) -> None:
        self.socket.sendall(self.h2.data_to_send())

    def until(self, condition: Callable[[], object]) -> None:
        """Send and receive until a condition holds."""
        self.flush()
        while not condition():
            data = self.socket.recv(1 << 16)
            assert data, "the service closed the connection"
            self.receive(data)
            self.flush()

    def answer(self, number: int) -> Answer:
        answer = self.answers[number]
        self.until(lambda: answer.is_complete)
        return answer

    def ask(self, method: str, path: str, body: bytes | None, more: Any) -> Answer:
        return self.answer(self.request(method, path, body, more))


REQUESTS: dict[str, tuple[str, str, bytes | None, list[tuple[bytes, bytes]]]] = {
    "GET": ("GET", f"{EVAL}?x=3", None, []),
    "POST": ("POST", EVAL, b'{"x":3}', [(b"content-type", b"application/json")]),
    "batch": ("POST", EVAL, b'{"batch_size":2,"x":[3,4]}', []),
    "not JSON": ("POST", EVAL, b'{"x":', []),
    "no body": ("POST", EVAL, None, []),
    "a wrong value": ("GET", f"{EVAL}?x=three", None, []),
    "no such model": ("GET", "/v1/api/model/n/eval?x=3", None, []),
    "a wrong method": ("DELETE", EVAL, None, []),
    "OPTIONS": ("OPTIONS", EVAL, None, []),
    "HEAD": ("HEAD", "/livez", None, []),
    "another route": ("GET", "/livez", None, []),
    "no route": ("GET", "/nowhere", None, []),
    "a coding": ("POST", EVAL, b'{"x":3}', [(b"content-encoding", b"br")]),
    "a deadline": ("GET", f"{EVAL}?x=3", None, [(b"request-timeout-ms", b"soon")]),
    "at the limit": ("POST", EVAL, b'{"x":3}'.ljust(LIMIT), []),
    "over the limit": ("POST", EVAL, b'{"x":3}'.ljust(LIMIT + 1), []),
    "a stream": ("POST", EVAL.replace("eval", "stream"), b'{"x":3}\n{"x":4}\n', []),
    "dictionary": ("GET", EVAL.replace("eval", "meta/dictionary"), None, []),
    "contract": ("GET", EVAL.replace("eval", "meta/contract"), None, []),
}
# Of the connection, or of the moment.
VARYING = {"date", "server", "connection", "content-length", "transfer-encoding"}


def told(status: int, headers: dict[str, str], body: bytes) -> Any:
    text = re.sub(rb'"serviceTimeMcs":\d+', b"", body)
    kept = {name: value for name, value in headers.items() if name not in VARYING}
    return status, kept, text


@pytest.mark.parametrize("what", REQUESTS)
def test_the_same_answer_as_over_http_1(service: Service, what: str) -> None:
    method, target, body, more = REQUESTS[what]
    service.client.get(f"{EVAL}?x=3")  # a hit from now on
    wait_for(lambda: "hit" in service.get(f"{EVAL}?x=3").headers["cache-status"])
    wait_for(lambda: service.post("scale", {"x": 4}).headers["cache-status"][7] == "h")
    with service.connect(headers={"accept-encoding": "identity"}) as client:
        for name in ("accept", "user-agent"):
            client.headers.pop(name)
        length = {} if body is None else {"content-length": str(len(body))}
        headers = {**length, **{k.decode(): v.decode() for k, v in more}}
        first = client.request(method, target, content=body, headers=headers)
    lengths = [] if body is None else [(b"content-length", b"%d" % len(body))]
    for fields in (more, more + lengths):
        second = Connected(service)
        found = second.ask(method, target, body, fields)
        assert told(found.status, found.headers, found.body) == told(
            first.status_code, dict(first.headers), first.content
        )
        second.socket.close()


def test_a_query_of_other_bytes(service: Service) -> None:
    client = Connected(service)
    answer = client.ask("GET", f"{EVAL}?x=\u00e9", None, [])
    assert (answer.status, answer.document["status"]) == (400, "error")
    assert "escape them" in answer.document["error"]
    assert client.ask("GET", f"{EVAL}?x=1", None, []).status == 200
    client.socket.close()


def test_many_at_once(service: Service) -> None:
    address = service.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), 30) as peer:
        for x, data in ask_at_once(peer, EVAL, 100).items():
            assert data == {"y": 2.0 * x}


def test_a_client_that_grants_no_window_holds_nobody_up(service: Service) -> None:
    slow = Connected(service, {ngh2.Setting.INITIAL_WINDOW_SIZE: 0})
    numbers = [slow.request("GET", f"{EVAL}?x={n}") for n in range(50)]
    slow.until(lambda: all(slow.answers[number].status for number in numbers))
    other = Connected(service)
    assert other.ask("GET", f"{EVAL}?x=1", None, []).status == 200
    assert not any(slow.answers[number].body for number in numbers)
    slow.h2.update_settings({ngh2.Setting.INITIAL_WINDOW_SIZE: 65_535})
    answers = [slow.answer(number).document["data"] for number in numbers]
    assert answers == [{"y": 2.0 * n} for n in range(50)]
    slow.socket.close()
    other.socket.close()


def test_a_reset_ends_one_request(service: Service) -> None:
    client = Connected(service)
    numbers = [client.request("GET", f"{EVAL}?x={n}") for n in range(500, 510)]
    client.h2.reset_stream(numbers[4])
    client.flush()
    del numbers[4]
    ys = [client.answer(number).document["data"]["y"] for number in numbers]
    assert ys == [2.0 * n for n in range(500, 510) if n != 504]
    client.socket.close()


def test_lines_are_answered_as_they_come(service: Service) -> None:
    client = Http2(service.url, "scale")
    for n in range(20):
        client.send(b'{"x":%d}\n' % n)
        assert client.line()["data"] == {"y": 2.0 * n}  # type: ignore[index]
    client.end()
    assert client.line() is None
    client.close()


@pytest.mark.parametrize("body", [None, b'{"x":3}'])
def test_an_upgrade(service: Service, body: bytes | None) -> None:
    address = service.url.removeprefix("http://").split(":")
    payload = ngh2.pack_settings_payload({ngh2.Setting.INITIAL_WINDOW_SIZE: 65_535})
    settings = base64.urlsafe_b64encode(payload).rstrip(b"=")
    line = f"POST {EVAL}" if body else f"GET {EVAL}?x=3"
    head = [
        f"{line} HTTP/1.1",
        "host: h",
        "connection: Upgrade, HTTP2-Settings",
        "upgrade: h2c",
        f"http2-settings: {settings.decode()}",
        f"content-length: {len(body or b'')}",
    ]
    client = Client()
    with socket.create_connection((address[0], int(address[1])), 30) as peer:
        peer.sendall("\r\n".join([*head, "", ""]).encode() + (body or b""))
        received = b""
        while b"\r\n\r\n" not in received:
            received += peer.recv(1)
        assert received.startswith(b"HTTP/1.1 101 ")
        client.h2.initiate_upgrade(payload)
        client.answers[1] = Answer()
        second = client.request("GET", f"{EVAL}?x=4")
        while not all(answer.is_complete for answer in client.answers.values()):
            peer.sendall(client.h2.data_to_send())
            data = peer.recv(1 << 16)
            assert data
            client.receive(data)
    assert client.answers[1].document["data"] == {"y": 6.0}
    assert client.answers[second].document["data"] == {"y": 8.0}


@pytest.mark.skipif(not shutil.which("curl"), reason="curl is not installed")
@pytest.mark.parametrize("how", ["--http2", "--http2-prior-knowledge"])
def test_curl(service: Service, how: str) -> None:
    options = ["-s", "--noproxy", "*", "-w", "\n%{http_version} %{http_code}", how]
    done = subprocess.run(
        ["curl", *options, f"{service.url}{EVAL}?x=1"],
        capture_output=True,
        text=True,
        check=True,
    )
    document, version = done.stdout.splitlines()
    assert (json.loads(document)["data"], version) == ({"y": 2.0}, "2 200")


def test_a_graceful_stop_answers_every_request(service: Service) -> None:
    """The last test: it ends the service."""
    client = Connected(service)
    numbers = [client.request("GET", f"/v1/api/model/slow/eval?x={n}") for n in (1, 2)]
    client.flush()
    idle = Connected(service)
    idle.ask("GET", f"{EVAL}?x=3", None, [])
    service.process.send_signal(signal.SIGTERM)
    for number in numbers:
        assert client.answer(number).status == 200
    client.socket.close()
    idle.socket.close()
    service.client.close()
    assert service.process.wait(60) == 0
    assert "Traceback" not in service.text()
