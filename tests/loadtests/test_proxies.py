"""What the load through proxies counts as failed, and how a config is adapted."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from loadtests.load.services import free_port
from loadtests.proxies import proxy
from loadtests.proxies.__main__ import Cell, table
from loadtests.proxies.load import Load, Results
from tests.support.service import wait_for


class Handler(BaseHTTPRequestHandler):
    """Answers every row with y = 2, with a status that a test sets."""

    protocol_version = "HTTP/1.1"
    status = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b'{"data":{"y":2}}'
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing."""


class Unavailable(Handler):
    status = 503


class Leaves(Handler):
    """Closes the connection behind a request, without an answer."""

    def do_POST(self) -> None:
        self.close_connection = True


@contextmanager
def served(handler: type[Handler]) -> Iterator[int]:
    """Serve in a thread; yield the port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def test_what_counts_as_failed() -> None:
    with (
        served(Handler) as wrong,
        served(Unavailable) as unavailable,
        served(Leaves) as leaves,
    ):
        ports = {"wrong": wrong, "unavailable": unavailable, "leaves": leaves}
        with Load(ports | {"nobody": free_port()}, (2.0,)) as load:
            wait_for(lambda: all(one.failed > 5 for one in load.results.values()), 30)
    kinds = {name: list(one.failures) for name, one in load.results.items()}
    assert kinds["wrong"] == ["wrong answer"]
    assert kinds["unavailable"] == ["status 503"]
    assert kinds["leaves"] == ["IncompleteReadError"]
    assert kinds["nobody"] == ["ConnectionRefusedError"]
    assert load.results["wrong"].requests >= load.results["wrong"].failed


def test_a_table() -> None:
    slow = Results(requests=1234, slowest=1.5)
    slow.failures["status 503"] += 2
    *_, row = table([Cell("SIGSTOP", "nginx", slow)]).splitlines()
    assert row == "| SIGSTOP | nginx | 1,234 | 2 | 1500 | status 503: 2, slow |"


def test_a_config_that_lacks_what_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proxy, "DEPLOY", tmp_path)
    (tmp_path / "haproxy.cfg").write_text("bind :80\nserver one 10.0.0.11:8080\n")
    with pytest.raises(ValueError, match=r"haproxy\.cfg has no '10\.0\.0\.12:8080'"):
        proxy.HAPROXY.adapted(tmp_path, 1, [2, 3])
