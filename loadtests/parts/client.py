"""The cost of a call of the client: python -m loadtests.parts.client [URL MODEL]

Rows have ten inputs, as in loadtests/parts/keys.py, and all hit the local cache. Prints
the best of several medians, in microseconds. Where the extra `bench` is installed, the
same row is also sent to the service in loadtests/load/ordinary_service.py, over one
kept connection of the standard library, which costs less than any other client. The two
alternate, so that other load on the machine affects both. With the URL of a service and
a model of one number, x: also the median of calls that send a request, one after the
other.
"""

import asyncio
import http.client
import json
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from gomlx import AsyncClient, Client, FakeTransport
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from loadtests.load.services import free_port
from loadtests.parts.keys import DTYPES, KINDS, ROW

NAMES = [f"i{n}" for n in range(len(DTYPES))]


def contract() -> Contract:
    """Return the contract of a model of ten inputs."""
    inputs = tuple(
        Tensor(n, dtype, (1,)) for n, dtype in zip(NAMES, DTYPES, strict=True)
    )
    outputs = (Tensor("late", "float32", (1,)),)
    signature = Signature(inputs, outputs)
    return Contract(
        "m", "0" * 32, signature, tuple(KINDS), False, 3600.0, 4096, 1 << 20
    )


def median(call: Callable[[], Any], number: int) -> float:
    """Return the best of seven medians of so many calls, in microseconds."""
    return min(_median(call, number) for _ in range(7)) * 1e6


def _median(call: Callable[[], Any], number: int) -> float:
    times = []
    for _ in range(number):
        started = perf_counter()
        call()
        times.append(perf_counter() - started)
    return statistics.median(times)


def report(what: str, microseconds: float) -> None:
    """Print a line."""
    print(f"{what:34}{microseconds:8.2f} us")  # noqa: T201


def local() -> None:
    """Print the cost of hits in the client's cache, of a row and of a batch."""
    transport = FakeTransport(lambda row: {"late": 0.25}, dict.fromkeys(NAMES, ""))
    row: dict[str, Any] = dict(zip(NAMES, ROW, strict=True))
    columns: dict[str, list[Any]] = {name: [value] * 100 for name, value in row.items()}
    columns["i0"] = [f"word-{n}" for n in range(100)]
    columns["i9"] = [n / 8 for n in range(100)]
    with Client("m", "http://x", contract=contract(), transport=transport) as client:
        client.predict(**row)
        client.predict_batch(columns)
        assert client.predict(**row).tier == "local"
        assert all(a.tier == "local" for a in client.predict_batch(columns))
        report("local hit, keywords", median(lambda: client.predict(**row), 5000))
        report("local hit, a mapping", median(lambda: client.predict(row), 5000))
        batch = median(lambda: client.predict_batch(columns), 200)
        report("batch of 100, all local, a row", batch / 100)


Send = Callable[[], bytes]


@contextmanager
def ordinary() -> Iterator[Send]:
    """Run the ordinary service; yield a function that sends the row to it."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        model = Path(folder) / "T"
        subprocess.run(
            [sys.executable, "-m", "loadtests.load.ranking", model], check=True
        )
        command = [sys.executable, "-m", "loadtests.load.ordinary_service"]
        command += [str(port), f"T={model}"]
        process = subprocess.Popen(command)
        try:
            wait_until_it_listens(port, process)
            with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
                yield partial(_send, connection)
        finally:
            process.terminate()
            process.wait()


def _send(connection: http.client.HTTPConnection) -> bytes:
    body = json.dumps(dict(zip(NAMES, ROW, strict=True)))
    connection.request("POST", "/T", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    text = response.read()
    assert response.status == 200, text
    return text


def wait_until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
    """Wait for a minute at most. Raises RuntimeError when the process ends before."""
    for _ in range(600):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            if process.poll() is not None:
                break
            sleep(0.1)
    raise RuntimeError("the ordinary service did not start")


def compared() -> None:
    """Print how much a local hit saves, in five rounds of both, alternating."""
    transport = FakeTransport(lambda row: {"late": 0.25}, dict.fromkeys(NAMES, ""))
    row: dict[str, Any] = dict(zip(NAMES, ROW, strict=True))
    client = Client("m", "http://x", contract=contract(), transport=transport)
    with ordinary() as send, client:
        client.predict(row)
        median(send, 20)  # the first calls trace the model
        rounds = [
            (median(lambda: client.predict(**row), 2000), median(send, 60))
            for _ in range(5)
        ]
    local, remote = map(statistics.median, zip(*rounds, strict=True))
    report("local hit, keywords", local)
    report("the same, ordinary service", remote)
    print(f"{'ratio':34}{remote / local:8.0f}")  # noqa: T201


def remote(url: str, model: str) -> None:
    """Print the time of calls that send a request, with both clients."""
    with Client(model, url) as client:
        rows = iter(range(10**9))
        call = median(lambda: client.predict(x=next(rows) / 1000), 300)
        report("remote, Client", call)
    asyncio.run(remote_async(url, model))


async def remote_async(url: str, model: str) -> None:
    """Print the time of a call of AsyncClient that sends a request."""
    async with AsyncClient(model, url) as client:
        times = []
        for n in range(2000):
            started = perf_counter()
            await client.predict(x=-n / 1000)
            times.append(perf_counter() - started)
        report("remote, AsyncClient", statistics.median(times) * 1e6)


if __name__ == "__main__":
    local()
    if find_spec("fastapi") and find_spec("uvicorn"):
        compared()
    if len(sys.argv) > 2:
        remote(*sys.argv[1:])
