"""The hot protocol and Gunicorn's read the same bytes alike, in a whole service."""

import random
import socket
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loadtests.fuzz.http1 import LIVE, Answers, differences
from loadtests.fuzz.malformed import EVAL, stream
from loadtests.fuzz.ways import CONFIG
from tests.support import saved_models
from tests.support.service import running


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Where a service listens."""
    folder = tmp_path_factory.mktemp("smuggling")
    saved_models.scale(folder / "model", 2.0)
    # Time for a sender that a busy machine keeps waiting in the middle of a request.
    endpoint = CONFIG["endpoint"] | {"receive_seconds": 6}
    with running(folder, CONFIG | {"endpoint": endpoint}) as service:
        yield int(service.url.rpartition(":")[2])


def post(*headers: bytes, body: bytes = b'{"x":1}', line: bytes = b"") -> bytes:
    line = line or b"POST %b HTTP/1.1" % EVAL
    length = (
        []
        if any(b"length" in header for header in headers)
        else [b"content-length: %d" % len(body)]
    )
    return b"\r\n".join([line, b"host: h", *length, *headers, b"", body])


CHUNKED = b"transfer-encoding: chunked"
CHUNKS = b'7\r\n{"x":1}\r\n0\r\n\r\n'
# What to send, and the statuses that answer it: of ours, before those of what follows.
STREAMS: dict[str, tuple[bytes, list[int]]] = {
    "a length and chunks": (post(CHUNKED, body=CHUNKS), [400]),
    "chunks": (post(CHUNKED, b"x-length: 1", body=CHUNKS), [200, 200]),
    "chunks of a negative size": (post(CHUNKED, b"x-length: 1", body=b"-7\r\n"), [400]),
    "chunks, twice": (
        post(CHUNKED, b"transfer-encoding: identity", b"x-length: 1", body=CHUNKS),
        [400],
    ),
    "two lengths that differ": (
        post(b"content-length: 7", b"content-length: 8"),
        [400],
    ),
    "two lengths that agree": (post(b"content-length: 7", b"content-length: 7"), [400]),
    "a length of two numbers": (post(b"content-length: 7, 7"), [400]),
    "a negative length": (post(b"content-length: -7"), [400]),
    "a length with a plus": (post(b"content-length: +7"), [400]),
    "a length in hex": (post(b"content-length: 0x7"), [400]),
    "a huge length": (post(b"content-length: " + b"9" * 30), [413]),
    "no length": (post(b"content-length:"), [400]),
    "a folded header": (post(b"x: y", b" z"), [400]),
    "bare line feeds": (post().replace(b"\r\n", b"\n"), [400]),
    "a NUL": (post(b"x: a\0b"), [400]),
    "a space before the colon": (post(b"x : y"), [400]),
    "a header without a colon": (post(b"x"), [400]),
    "expect": (post(b"expect: 100-continue"), [200, 200]),
    "expect something else": (post(b"expect: magic"), [200, 200]),
    "upgrade": (post(b"connection: upgrade", b"upgrade: websocket"), [200, 200]),
    "HTTP/1.0": (post(line=b"POST %b HTTP/1.0" % EVAL), [200]),
    "HTTP/1.2": (post(line=b"POST %b HTTP/1.2" % EVAL), [400]),
    "HEAD": (b"HEAD %b HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % EVAL, [400]),
    "an absolute URI": (post(line=b"POST http://h%b HTTP/1.1" % EVAL), [200, 200]),
    "a path in percents": (
        post(line=b"POST /v1/api/model/m/%65val HTTP/1.1"),
        [200, 200],
    ),
    "a body over the limit": (post(body=b" " * 1025), [413, 200]),
    "a time that is none": (post(b"request-timeout-ms: soon"), [400, 200]),
    "a time": (post(b"request-timeout-ms: 20000"), [200, 200]),
    "close, and something else": (
        post(b"connection: close", b"connection: keep-alive"),
        [200],
    ),
    "garbage behind": (post() + b"\x16\x03\x01 \r\n\r\n", [200, 400]),
    "empty lines between": (post() + b"\r\n\r\n" + post(), [200, 400]),
    "hot and other, mixed": (
        post() + post() + LIVE + b"\r\n" + post(body=b"{") + post(),
        [200, 200, 200, 400, 200, 200],
    ),
}


@pytest.mark.parametrize("what", STREAMS)
def test_the_two_ways_agree(port: int, what: str) -> None:
    text, statuses = STREAMS[what]
    found = Answers(port)
    hot = found.hot(text)
    assert [answer[0] for answer in hot] == statuses, hot
    assert hot == found.asgi(text)


@settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rng=st.randoms(use_true_random=False))
def test_the_two_ways_agree_on_anything(port: int, rng: random.Random) -> None:
    assert not differences(Answers(port), stream(rng), rng)


def test_slow_senders_get_a_408(port: int) -> None:
    """One that stops in a head, and one that stops in a body; both at once."""
    connections = [
        socket.create_connection(("127.0.0.1", port), timeout=60) for _ in range(2)
    ]
    for connection, text in zip(connections, (post()[:20], post()[:-1]), strict=True):
        connection.sendall(text)
    for connection in connections:
        with connection:
            found = connection.makefile("rb").read()
        assert found.startswith(b"HTTP/1.1 408 ")
        assert b"connection: close" in found
