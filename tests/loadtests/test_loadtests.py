"""The load tests measure what they say."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import islice

import numpy as np
import pytest

from loadtests import redis_faults
from loadtests.bench import results
from loadtests.load.openloop import Load, Loop, Phase, arrivals
from loadtests.load.traffic import FIRST, HIT, Traffic, batches, ranked, strings

_STALL = 0.3
TRAFFIC = Traffic("/x", strings(), hits=0.5, known=10)


class _Stalling(BaseHTTPRequestHandler):
    """Answers the first request late, and the others at once."""

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
        """No one reads it."""


@pytest.fixture
def stalling() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Stalling) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("p99", "wrong", "expected"),
    [(0.0099, 0, "met"), (0.0101, 0, "missed"), (0.001, 1, "missed")],
)
def test_a_fault_of_redis_is_judged(p99: float, wrong: int, expected: str) -> None:
    """By all but the slowest hundredth: quiet 2 ms, deadline 5 ms, margin 3 ms."""
    seconds = [*[0.001] * 985, *[p99] * 10, *[9.0] * 5]
    assert (
        redis_faults.verdict(seconds, wrong, 0.002) == f"goal p99 ≤ 10.00: {expected}"
    )


def test_latency_counts_from_the_intended_time(stalling: str) -> None:
    load = Load(stalling, TRAFFIC, (Phase(0.2, 100),), connections=1, keeps=True)
    samples = Loop(load).run()
    assert samples.unanswered == 0
    assert (samples.status == 200).all()
    assert len(samples.answers) == len(samples.due) == len(arrivals(load.phases, 1))
    # All were due while the first one kept the only connection.
    first = samples.due.min()
    assert (samples.took >= _STALL - (samples.due - first) - 0.01).all()


def test_a_lost_connection_is_a_failure_and_is_made_again() -> None:
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


def test_arrivals_are_poisson() -> None:
    due = arrivals([Phase(10, 1000), Phase(1, 0, burst=5), Phase(10, 100)], seed=3)
    assert (np.diff(due) >= 0).all()
    assert len(due[due < 10]) == pytest.approx(10_000, rel=0.05)
    gaps = np.diff(due[due < 10])
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)
    assert (due == 10).sum() == 5


def test_known_rows_come_again_and_new_ones_do_not() -> None:
    requests = list(islice(TRAFFIC.requests(), 1000))
    requested = Counter(request.data for request in requests)
    hits = {request.data for request in requests if request.kind == HIT}
    assert len(hits) == 10
    assert sum(requested[data] for data in hits) == pytest.approx(500, abs=60)
    assert all(n == 1 for data, n in requested.items() if data not in hits)


def test_zipf_with_churn_replaces_rows() -> None:
    zipf = replace(TRAFFIC, exponent=1.0, known=100)

    def rows(churn: float) -> Counter[bytes]:
        requests = replace(zipf, churn=churn).requests()
        return Counter(request.data for request in islice(requests, 5000))

    still, churning = rows(0), rows(0.1)
    assert len(still) == 100
    assert still.most_common(1)[0][1] > 5 * still.most_common(100)[-1][1]
    assert len(churning) > 300


def test_a_batch_has_a_hundred_rows_that_no_other_has() -> None:
    many = batches(ranked())
    floats: list[int] = []
    for n in (10_000, 10_001, 99_999):
        body = json.loads(many.body(n))
        assert {len(column) for name, column in body.items() if name[0] in "cf"} == {
            100
        }
        floats += body["f0"]
    assert len(np.unique(np.array(floats, np.float32))) == 300
    assert ranked().body(FIRST) != ranked().body(FIRST + 1)


def test_the_readme_says_what_the_results_say() -> None:
    found = results.load()
    for path, lines in (
        (results.PAGE, results.page_section(found)),
        (results.README, results.readme(found)),
    ):
        assert "\n".join(lines) in path.read_text()
    for name, text in results.files(results.load()).items():
        assert (results.FOLDER / name).read_text() == text
