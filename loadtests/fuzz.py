"""Two ways to one answer: python -m loadtests.fuzz --seconds 60

Sends streams of bytes, from proper requests to garbage, twice to a service: as they
are, cut at random places, so that the hot protocol reads them first, and after a
request that hands the connection to Gunicorn's protocol. What comes back must be the
same. Ends at the first difference, printed with its seed.
"""

import argparse
import json
import random
import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

EVAL = b"/v1/api/model/m/eval"
LIVE = b"GET /livez HTTP/1.1\r\nhost: h\r\n"
# Ends every stream, however many bytes an unfinished body before it takes.
_END = (LIVE + b"connection: close\r\n\r\n") * 40
_TARGETS = (
    *(EVAL, EVAL + b"?x=3", EVAL + b"/", b"/v1/api/model/m/%65val", b"http://h" + EVAL),
    *(EVAL + b"?x=\x80", EVAL + b"?x=3#x", EVAL + b"?x=%zz", EVAL + b"?x=\x7f"),
    *(b"/livez", b"/v1/api/model/n/eval", b"//v1/api/model/m/eval", b"*", b"/\x80"),
)
_HEADERS = (
    *(b"content-length: 7", b"Content-Length: 8", b"content-length: 0", b"x: y"),
    *(b"content-length: +7", b"content-length: -7", b"content-length: 0x7"),
    *(b"content-length: 7, 7", b"content-length: 99999999999999999999999"),
    *(b"content-length:", b"content-length: 7 7", b"content-length: 1000"),
    *(b"transfer-encoding: chunked", b"transfer-encoding: identity"),
    *(b"transfer-encoding: chunked, chunked", b"Transfer-Encoding : chunked"),
    *(b"transfer-encoding:\x0bchunked", b"expect: 100-continue", b"expect: magic"),
    *(b"connection: close", b"connection: keep-alive", b"connection: upgrade"),
    *(b"upgrade: websocket", b"host: other", b" folded", b"x: a\x00b", b"x: a\nb: c"),
    *(b"x: a\rb", b"\xff: y", b"x y: z", b": empty", b"no colon", b"x: " + b"y" * 300),
    *(b"request-timeout-ms: 20000", b"request-timeout-ms: 0"),
    *(b"content-encoding: gzip", b"content-type: text/plain"),
)
_TRIES = 3  # to see a difference again
_BODIES = (
    *(b'{"x":1}', b'{"x":2}', b"{", b"", b'7\r\n{"x":1}\r\n0\r\n\r\n', b"0\r\n\r\n"),
    *(b'7;ext\r\n{"x":1}\r\n0\r\ntrailer: 1\r\n\r\n', b"\r\n", b"x" * 20, b"+7\r\n"),
)


def stream(rng: random.Random) -> bytes:
    """Return a few requests, each of them right, or wrong in some way."""
    return b"".join(_request(rng) for _ in range(rng.randint(1, 4)))


def _request(rng: random.Random) -> bytes:
    body = rng.choice(_BODIES[:2])
    right = [b"host: h", b"content-length: %d" % len(body)]
    line = b"POST %b HTTP/1.1" % EVAL
    if rng.random() < 0.4:
        return b"\r\n".join([line, *right, b"", body])
    if rng.random() < 0.3:
        body = rng.choice(_BODIES)
    if rng.random() < 0.3:
        target = rng.choice(_TARGETS)
        method = rng.choice((b"GET", b"POST", b"PUT", b"get", b"G@T"))
        version = rng.choice((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b""))
        line = b" ".join((method, target, version))
    headers = right[: rng.choice((2, 2, 2, 1, 0))]
    if headers and rng.random() < 0.1:
        headers[0] = rng.choice(
            (b"host:", b"host: a b", b"Host: [::1]:8", b"host: \xff")
        )
    headers += rng.choices(_HEADERS, k=rng.choice((0, 1, 1, 2, 3)))
    rng.shuffle(headers)
    end = rng.choice((b"\r\n",) * 8 + (b"\n", b"\r"))
    request = end.join([line, *headers, b"", body])
    return _damaged(request, rng) if rng.random() < 0.15 else request


def _damaged(request: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(request))
    inserted = rng.choice((b"", b"\x00", b" ", b"\n", b"\r\n", b":", b"\xff"))
    return request[:at] + inserted + request[at + rng.randint(0, 2) :]


class Answers:
    """What a service at a port answers, in the two ways."""

    def __init__(self, port: int) -> None:
        self._port = port

    def hot(self, text: bytes, cuts: list[int] | None = None) -> list[Any]:
        """Return what comes back for bytes that are sent as they are."""
        return answers(self.talk(text + _END, cuts or []))

    def asgi(self, text: bytes, cuts: list[int] | None = None) -> list[Any]:
        """Return what Gunicorn's protocol answers, without what handed over."""
        first = LIVE + b"\r\n"
        places = [len(first) + cut for cut in cuts or []]
        return answers(self.talk(first + text + _END, places))[1:]

    def talk(self, text: bytes, cuts: list[int]) -> bytes:
        """Send bytes, cut at some places, and return all that comes back."""
        with socket.create_connection(("127.0.0.1", self._port), 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError):  # it has had enough
                for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
                    connection.sendall(text[start:stop])
            found = b""
            with suppress(ConnectionError, TimeoutError):
                while part := connection.recv(65536):
                    found += part
            return found


def answers(text: bytes) -> list[Any]:
    """Split what came back into (status, document), without what is measured."""
    found: list[Any] = []
    while match := re.match(rb"HTTP/1\.[01] (\d{3})[^\r]*\r\n", text):
        head, _, text = text.partition(b"\r\n\r\n")
        status = int(match[1])
        if status == 100:
            continue  # sent or not as the body comes late or soon (RFC 9110, 10.1.1)
        length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else len(text)
        found.append((status, _document(text[:size])))
        text = text[size:]
    return [*found, text] if text else found


def _document(body: bytes) -> Any:
    try:
        document = json.loads(body)
    except ValueError:
        return None  # Gunicorn's own words
    if isinstance(document, dict):
        document.pop("serviceTimeMcs", None)
    return document


def differences(found: Answers, text: bytes, rng: random.Random) -> str:
    """Return how the two ways differ, or nothing.

    How bytes are read is no matter of how they arrive, but for Gunicorn: what follows
    an error is answered if it comes a packet later. So a difference is one that stays.
    """
    cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randint(0, 3)))
    for _ in range(_TRIES):
        hot, asgi = found.hot(text, cuts), found.asgi(text, cuts)
        if hot == asgi:
            return ""
    return f"{text!r}\nhot:  {hot}\nasgi: {asgi}"


@contextmanager
def service() -> Iterator[int]:
    """A service with a model `m`: y = 2 x; its port."""
    from tests.support import saved_models
    from tests.support.service import running

    with tempfile.TemporaryDirectory(prefix="gomlx-") as folder:
        saved_models.scale(Path(folder) / "model", 2.0)
        with running(Path(folder), CONFIG) as one:
            yield int(one.url.rpartition(":")[2])


CONFIG: dict[str, Any] = {
    "endpoint": {"max_body_bytes": 1024, "receive_seconds": 2, "keepalive_seconds": 2},
    "models": [{"id": "m", "url": "./model", "datastore": "s"}],
    "datastores": [{"id": "s", "memory_mb": 16}],
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    end, n = time.monotonic() + arguments.seconds, 0
    with service() as port:
        found = Answers(port)
        while time.monotonic() < end:
            rng = random.Random(arguments.seed + n)
            if difference := differences(found, stream(rng), rng):
                sys.exit(f"seed {arguments.seed + n}: {difference}")
            n += 1
    sys.stdout.write(f"{n} streams answered alike, from seed {arguments.seed}\n")


if __name__ == "__main__":
    main()
