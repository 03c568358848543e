"""An open loop sends when requests are due, and measures from then on."""

import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest

from loadtests.load.openloop import Load, Loop, Phase, arrivals
from loadtests.load.traffic import Traffic, strings

_STALL = 0.3
TRAFFIC = Traffic("/x", strings(), hits=0.5, recurring=10)


class _Stalling(BaseHTTPRequestHandler):
    """Responds late to the first request, and at once to the others."""

    protocol_version = "HTTP/1.1"
    has_stalled = False

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if not _Stalling.has_stalled:
            _Stalling.has_stalled = True
            time.sleep(_STALL)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Drop it."""


@pytest.fixture
def stalling() -> Iterator[str]:
    _Stalling.has_stalled = False
    with HTTPServer(("127.0.0.1", 0), _Stalling) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_latency_counts_from_the_intended_time(stalling: str) -> None:
    phases = (Phase(0.2, 100),)
    load = Load(stalling, TRAFFIC, phases, connections=1, keeps_exchanges=True)
    samples = Loop(load).run()
    assert samples.failed == 0
    assert len(samples.exchanges) == len(samples.due) == len(arrivals(phases, 1))
    assert all(one.response.endswith(b"{}") for one in samples.exchanges)
    # All were due while the first request occupied the only connection.
    first = samples.due.min()
    assert (samples.latency >= _STALL - (samples.due - first) - 0.01).all()


def test_a_lost_connection_is_a_failure_and_is_replaced() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            for _ in range(3):
                connection, _ = server.accept()
                connection.recv(1000)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        samples = Loop(Load(url, TRAFFIC, (Phase(1, 0, burst=3),), 1)).run()
        thread.join()
    assert samples.status.tolist() == [0, 0, 0]
    assert samples.failed == 3
    assert samples.exchanges == []


def test_a_stop_file_ends_the_loop(stalling: str, tmp_path: Path) -> None:
    (tmp_path / "stop").touch()
    phases = (Phase(60, 100),)
    stop_file = tmp_path / "stop"
    samples = Loop(Load(stalling, TRAFFIC, phases, 1, stop_file=stop_file)).run()
    assert samples.unanswered == 0
    assert len(samples.due) < 100


def test_arrivals_are_poisson() -> None:
    due = arrivals([Phase(10, 1000), Phase(1, 0, burst=5), Phase(10, 100)], seed=3)
    assert (np.diff(due) >= 0).all()
    assert len(due[due < 10]) == pytest.approx(10_000, rel=0.05)
    gaps = np.diff(due[due < 10])
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert (due == 10).sum() == 5
