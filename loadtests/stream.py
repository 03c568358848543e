"""The cost of a row of a stream: python -m loadtests.stream

Requests rows from one worker, all of which hit: first one POST after the other, then
over a stream, with windows of several lines that are sent before their answers are
read. Prints the worker's CPU per row.
"""

import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from urllib.parse import urlsplit

from loadtests.load.procfs import cpu_seconds
from tests.server.duplex import Client, Http1, Http2
from tests.support.service import Service, running

_ROWS = 50_000
_DISTINCT = 1000
_WINDOWS = (1, 16, 256, 4096)
_EVAL = b"POST /v1/api/model/m/eval HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"


def measure(service: Service, what: str, send: Callable[[int], None]) -> None:
    """Send all rows, and print the cost."""
    pids = service.worker_pids()
    before = cpu_seconds(pids)
    started = perf_counter()
    send(_ROWS)
    rate = _ROWS / (perf_counter() - started)
    cost = (cpu_seconds(pids) - before) / _ROWS * 1e6
    print(f"{what:36} {cost:6.1f} us CPU a row {rate:9,.0f} rows/s")  # noqa: T201


def line(n: int) -> bytes:
    """Return the row of a number: one of _DISTINCT rows."""
    return b'{"x":%d}' % (n % _DISTINCT)


def send_singly(service: Service, rows: int) -> None:
    """Send a POST for each row, on one connection."""
    url = urlsplit(service.url)
    with socket.create_connection((url.hostname, url.port)) as connection:
        for n in range(rows):
            connection.sendall(_EVAL % (len(line(n)), line(n)))
            assert connection.recv(1 << 16).endswith(b"}")


def send_over_new_connection(
    connect: Callable[[], Client], window: int, rows: int
) -> None:
    """Send all rows over one stream, on a connection of its own."""
    send_streaming(connect(), window, rows)


def send_streaming(client: Client, window: int, rows: int) -> None:
    """Send all rows over one stream. window: rows that are sent before reading."""
    for start in range(0, rows, window):
        numbers = range(start, min(start + window, rows))
        client.send(b"".join(line(n) + b"\n" for n in numbers))
        for _ in numbers:
            assert client.line()["data"]
    client.end()
    assert client.line() is None
    client.close()


def main() -> None:
    """Measure POST, and streams of both protocols with several windows."""
    from tests.support import saved_models

    with TemporaryDirectory() as directory:
        folder = Path(directory)
        url = str(saved_models.scale(folder / "m", 2.0))
        config = {
            "models": [{"id": "m", "url": url, "datastore": "answers"}],
            "datastores": [{"id": "answers", "memory_mb": 16}],
        }
        with running(folder, config) as service:
            send_streaming(Http1(service.url, "m"), _DISTINCT, _DISTINCT)
            measure(service, "POST", lambda rows: send_singly(service, rows))
            for protocol, name in ((Http1, "HTTP/1.1"), (Http2, "HTTP/2")):
                for window in _WINDOWS:
                    client = partial(protocol, service.url, "m")
                    send = partial(send_over_new_connection, client, window)
                    measure(service, f"{name}, {window} lines at a time", send)


if __name__ == "__main__":
    main()
