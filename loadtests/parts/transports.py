"""The cost of a request to the client, by each of its transports.

    python -m loadtests.parts.transports

Runs a service, and sends the same row, which hits, so many times one after the other
and so many at once; the transports in turns, so that other load on the machine affects
all alike. Prints medians of nine rounds in microseconds: wall time, and the CPU time of
the client's process.
"""

import asyncio
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from gomlx.client.network.transport import Request, Transport
from gomlx.client.options import Options
from gomlx.client.transports.http import HttpTransport
from gomlx.client.transports.http2 import Http2Transport
from gomlx.client.transports.http2_httpcore import HttpcoreTransport
from loadtests.parts.http_libraries import Times
from tests.support import saved_models
from tests.support.service import running

_ROUNDS = 9
_CALLS = 320
_AT_ONCE = (1, 16, 64)


async def report(url: str) -> None:
    """Print the costs of requests to one service."""
    headers = {"Content-Type": "application/json", "Request-Timeout-Ms": "5000"}
    request = Request(f"{url}/v1/api/model/m/eval", headers, b'{"x":1.5}')
    options = Options()
    transports: dict[str, Transport] = {
        "HTTP/1.1, aiohttp": HttpTransport(options),
        "HTTP/2, ngh2": Http2Transport(options),
        "HTTP/2, httpcore": HttpcoreTransport(options),
    }
    times = {(name, n): Times() for n in _AT_ONCE for name in transports}
    for _ in range(_ROUNDS):
        for (name, at_once), found in times.items():
            await _measure(transports[name], request, at_once, found)
    for (name, at_once), found in times.items():
        wall = median(found.wall) / _CALLS * 1e6
        cpu = median(found.cpu) / _CALLS * 1e6
        print(f"{name:20}{at_once:3} at once {wall:6.0f} us wall {cpu:6.0f} us CPU")  # noqa: T201
    for transport in transports.values():
        await transport.close()


async def _measure(
    transport: Transport, request: Request, at_once: int, times: Times
) -> None:
    async def repeat() -> None:
        for _ in range(_CALLS // at_once):
            assert (await transport.send(request)).status == 200

    await transport.send(request)
    started = perf_counter()
    started_cpu = process_time()
    await asyncio.gather(*(repeat() for _ in range(at_once)))
    times.wall.append(perf_counter() - started)
    times.cpu.append(process_time() - started_cpu)


def main() -> None:
    """Measure a service of one worker."""
    with TemporaryDirectory() as directory:
        root = Path(directory)
        url = str(saved_models.scale(root / "model", 2.0))
        config = {
            "models": [{"id": "m", "url": url, "datastore": "answers"}],
            "datastores": [{"id": "answers", "memory_mb": 16}],
        }
        with running(root, config) as service:
            asyncio.run(report(service.url))


if __name__ == "__main__":
    main()
