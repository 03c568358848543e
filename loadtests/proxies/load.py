"""Requests through several proxies at once, each answer checked."""

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import orjson

_CONNECTIONS = 4  # through each proxy
_PAUSE_SECONDS = 0.005
_LATE_SECONDS = 10.0


@dataclass
class Results:
    """What came of the requests through one proxy.

    slowest: in seconds, of those that were answered. failures: how often what went
    wrong, a wrong answer included.
    """

    requests: int = 0
    slowest: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def failed(self) -> int:
        return self.failures.total()


class Load:
    """Clients of proxies, from `__enter__` to `__exit__`, in a thread of its own.

    ports: by the proxy's name. factors: of answers, y = factor * x, that are right.
    results: by the proxy's name; a request of a connection that the proxy has closed
    without saying so has failed, as has one without an answer within ten seconds.
    """

    def __init__(self, ports: Mapping[str, int], factors: Collection[float]) -> None:
        self.results = {name: Results() for name in ports}
        self._ports = ports
        self._factors = factors
        self._ends = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ends = True
        self._thread.join()

    async def _run(self) -> None:
        clients = (
            self._client(port, self.results[name], random.Random(f"{name}{seed}"))
            for name, port in self._ports.items()
            for seed in range(_CONNECTIONS)
        )
        await asyncio.gather(*clients)

    async def _client(self, port: int, results: Results, chance: random.Random) -> None:
        while not self._ends:
            try:
                await self._use_connection(port, results, chance)
            except (OSError, EOFError, TimeoutError) as error:
                results.failures[type(error).__name__] += 1
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _use_connection(
        self, port: int, results: Results, chance: random.Random
    ) -> None:
        """Request until the connection ends, as the last answer has to say."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            closes = False
            while not (closes or self._ends):
                is_new = chance.random() < 0.5
                x = chance.random() if is_new else float(chance.randrange(100))
                results.requests += 1
                started = time.perf_counter()
                async with asyncio.timeout(_LATE_SECONDS):
                    head, body = await _post(reader, writer, x)
                elapsed = time.perf_counter() - started
                results.slowest = max(results.slowest, elapsed)
                if problem := self._problem(head, body, x):
                    results.failures[problem] += 1
                closes = b"connection: close" in head
                await asyncio.sleep(_PAUSE_SECONDS)
        finally:
            writer.close()

    def _problem(self, head: bytes, body: bytes, x: float) -> str:
        status = head.split()[1].decode()
        if status != "200":
            return f"status {status}"
        y = orjson.loads(body)["data"]["y"]
        is_right = any(abs(y - factor * x) <= 1e-4 for factor in self._factors)
        return "" if is_right else "wrong answer"


async def _post(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, x: float
) -> tuple[bytes, bytes]:
    """Return the head of an answer in lower case, and its body."""
    body = orjson.dumps({"x": x})
    writer.write(
        b"POST /v1/api/model/m/eval HTTP/1.1\r\nhost: m\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (len(body), body)
    )
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return head, await reader.readexactly(length)
