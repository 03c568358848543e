"""The hot protocol and Gunicorn's answer alike: python -m loadtests.fuzz --seconds 60

Sends streams of bytes, from right requests to garbage, twice to a service, cut at
random places: as they are, so that the hot protocol reads them, and after a request
that hands the connection over to Gunicorn's protocol. The responses must be the same.
Ends at the first difference, which is printed with its seed.
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

from loadtests.load.malformed import stream

LIVE = b"GET /livez HTTP/1.1\r\nhost: h\r\n"
CONFIG: dict[str, Any] = {
    "endpoint": {"max_body_bytes": 1024, "receive_seconds": 2, "keepalive_seconds": 2},
    "models": [{"id": "m", "url": "./model", "datastore": "s"}],
    "datastores": [{"id": "s", "memory_mb": 16}],
}
# Ends each stream, however many of its bytes belong to an unfinished body.
_END = (LIVE + b"connection: close\r\n\r\n") * 40
_TRIES = 3  # to reproduce a difference


class Answers:
    """The responses of a service at a port, by either protocol."""

    def __init__(self, port: int) -> None:
        self._port = port

    def hot(self, text: bytes, cuts: list[int] | None = None) -> list[Any]:
        """Return the responses to bytes that are sent as they are."""
        return answers(self.talk(text + _END, cuts or []))

    def asgi(self, text: bytes, cuts: list[int] | None = None) -> list[Any]:
        """Return the responses of Gunicorn's protocol, without that of `first`."""
        first = LIVE + b"\r\n"
        places = [len(first) + cut for cut in cuts or []]
        return answers(self.talk(first + text + _END, places))[1:]

    def talk(self, text: bytes, cuts: list[int]) -> bytes:
        """Send bytes, cut at some places; return all bytes that are received."""
        with socket.create_connection(("127.0.0.1", self._port), 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError):  # the service closes after an error
                for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
                    connection.sendall(text[start:stop])
            found = b""
            with suppress(ConnectionError, TimeoutError):
                while part := connection.recv(65536):
                    found += part
            return found


def answers(text: bytes) -> list[Any]:
    """Split bytes into (status, document) of responses, without measured times."""
    found: list[Any] = []
    while match := re.match(rb"HTTP/1\.[01] (\d{3})[^\r]*\r\n", text):
        head, _, text = text.partition(b"\r\n\r\n")
        status = int(match[1])
        if status == 100:
            continue  # sent only if the body is late (RFC 9110, 10.1.1)
        length = re.search(rb"(?i)\ncontent-length: (\d+)", head)
        size = int(length[1]) if length else len(text)
        found.append((status, _document(text[:size])))
        text = text[size:]
    return [*found, text] if text else found


def _document(body: bytes) -> Any:
    try:
        document = json.loads(body)
    except ValueError:
        return None  # a text of Gunicorn's
    if isinstance(document, dict):
        document.pop("serviceTimeMcs", None)
    return document


def differences(found: Answers, text: bytes, rng: random.Random) -> str:
    """Return how the two protocols differ, or an empty text.

    A difference is one that stays in several tries: Gunicorn answers what follows an
    error only if it arrives in a later packet, so that its responses vary.
    """
    cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randint(0, 3)))
    for _ in range(_TRIES):
        hot = found.hot(text, cuts)
        asgi = found.asgi(text, cuts)
        if hot == asgi:
            return ""
    return f"{text!r}\nhot:  {hot}\nasgi: {asgi}"


@contextmanager
def service() -> Iterator[int]:
    """Run a service with a model `m`, y = 2 x; yield its port."""
    from tests.support import saved_models
    from tests.support.service import running

    with tempfile.TemporaryDirectory(prefix="gomlx-") as folder:
        saved_models.scale(Path(folder) / "model", 2.0)
        with running(Path(folder), CONFIG) as one:
            yield int(one.url.rpartition(":")[2])


def main() -> None:
    """Compare streams until time is up, or until they differ."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=time.time_ns())
    arguments = parser.parse_args()
    n = 0
    with service() as port:
        found = Answers(port)
        deadline = time.monotonic() + arguments.seconds
        while time.monotonic() < deadline:
            rng = random.Random(arguments.seed + n)
            if difference := differences(found, stream(rng), rng):
                sys.exit(f"seed {arguments.seed + n}: {difference}")
            n += 1
    sys.stdout.write(f"{n} streams answered alike, from seed {arguments.seed}\n")


if __name__ == "__main__":
    main()
