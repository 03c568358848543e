"""What a call of the client costs: python -m loadtests.parts.client [URL MODEL]

Rows of ten inputs as in loadtests/parts/keys.py, all kept locally; best of several
repeats of the median, in microseconds. Where the extra `bench` is installed, the same
row is also sent to the service in loadtests/load/ordinary_service.py, over one kept
connection of the standard library, which costs less than any other client; the two
alternate, so that other load on the machine affects both. With the URL of a service and
a model of one number, x: the median of calls that have to request it, one after the
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
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

from gomlx import AsyncClient, Client, FakeTransport
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from loadtests.parts.keys import DTYPES, KINDS, ROW

NAMES = [f"i{n}" for n in range(len(DTYPES))]


def contract() -> Contract:
    inputs = tuple(
        Tensor(n, dtype, (1,)) for n, dtype in zip(NAMES, DTYPES, strict=True)
    )
    outputs = (Tensor("late", "float32", (1,)),)
    signature = Signature(inputs, outputs)
    return Contract(
        "m", "0" * 32, signature, tuple(KINDS), False, 3600.0, 4096, 1 << 20
    )


def median(call: Callable[[], Any], number: int) -> float:
    best = []
    for _ in range(7):
        times = []
        for _ in range(number):
            started = perf_counter()
            call()
            times.append(perf_counter() - started)
        best.append(statistics.median(times))
    return min(best) * 1e6


def report(what: str, microseconds: float) -> None:
    print(f"{what:34}{microseconds:8.2f} us")  # noqa: T201


def local() -> None:
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
        took = median(lambda: client.predict_batch(columns), 200)
        report("batch of 100, all local, a row", took / 100)


Send = Callable[[], bytes]


@contextmanager
def ordinary() -> Iterator[Send]:
    """Run the ordinary service, and yield a function that sends the row to it."""
    with tempfile.TemporaryDirectory() as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        model = Path(folder) / "T"
        subprocess.run(
            [sys.executable, "-m", "loadtests.load.ranking", model], check=True
        )
        command = [sys.executable, "-m", "loadtests.load.ordinary_service"]
        command += [str(port), f"T={model}"]
        process = subprocess.Popen(command)
        try:
            until_it_listens(port, process)
            connection = http.client.HTTPConnection("127.0.0.1", port)
            body = json.dumps(dict(zip(NAMES, ROW, strict=True)))

            def send() -> bytes:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/T", body, headers)
                response = connection.getresponse()
                text = response.read()
                assert response.status == 200, text
                return text

            yield send
            connection.close()
        finally:
            process.terminate()
            process.wait()


def until_it_listens(port: int, process: "subprocess.Popen[bytes]") -> None:
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
    """Print how much a local hit saves: five rounds of each, alternating."""
    transport = FakeTransport(lambda row: {"late": 0.25}, dict.fromkeys(NAMES, ""))
    row: dict[str, Any] = dict(zip(NAMES, ROW, strict=True))
    client = Client("m", "http://x", contract=contract(), transport=transport)
    with ordinary() as send, client:
        client.predict(row)
        median(send, 20)  # at first it traces the model
        rounds = [
            (median(lambda: client.predict(**row), 2000), median(send, 60))
            for _ in range(5)
        ]
    local, remote = map(statistics.median, zip(*rounds, strict=True))
    report("local hit, keywords", local)
    report("the same, ordinary service", remote)
    print(f"{'ratio':34}{remote / local:8.0f}")  # noqa: T201


def remote(url: str, model: str) -> None:
    with Client(model, url) as client:
        rows = iter(range(10**9))
        took = median(lambda: client.predict(x=next(rows) / 1000), 300)
        report("remote, Client", took)
    asyncio.run(remote_async(url, model))


async def remote_async(url: str, model: str) -> None:
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
