"""Clients that come and go, all of whose answers are compared with the named version's.

A version is y = factor x. Its factor is known once the service has published it, so an
answer that is earlier is judged later.
"""

import asyncio
import json
import random
from collections import Counter
from typing import Any, NamedTuple

_ROWS = 500  # that recur
_NEW = 0.3  # share of rows that are new
_LIFE_SECONDS = 3.0  # of a connection, on average
_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 35.0
_GRACE_SECONDS = 5.0  # after the death of processes, in which connections end
_HOSTILE = (
    b"GET / HTTP/9.9\r\n\r\n",
    b"POST /v1/api/model/a/eval HTTP/1.1\r\nhost: h\r\ncontent-length: 9\r\n\r\n{",
    b'POST /v1/api/model/a/eval HTTP/1.1\r\nhost: h\r\ncontent-length: 3\r\n\r\n{"x',
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 40,
    b"\x00" * 2000,
    b"GET /nowhere HTTP/1.1\r\nhost: h\r\n\r\n" * 20,
)


class Answered(NamedTuple):
    """An answer of a version whose factor is not known yet."""

    version: str
    x: int
    y: float


class Clients:
    """Sends requests for models; counts what they got. factors: of each version."""

    def __init__(self, port: int, models: list[str], rng: random.Random) -> None:
        self.factors: dict[str, float] = {}
        self.outcomes: Counter[str] = Counter()
        self.problems: list[str] = []
        self.died_at = 0.0  # when processes were killed last
        self._port = port
        self._models = models
        self._rng = rng
        self._unjudged: list[Answered] = []
        self._new = 1000

    async def come_and_go(self, until: float) -> None:
        """Open connections one after the other, and use each for a while."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await self.live(self._rng.expovariate(1 / _LIFE_SECONDS))

    async def burst(self, connections: int, seconds: float) -> None:
        """Open many connections at once."""
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(self.live(seconds))

    async def live(self, seconds: float) -> None:
        """Send requests on one connection. It ends if its worker dies."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        try:
            async with asyncio.timeout(seconds + _PATIENCE_SECONDS):
                streams = await asyncio.open_connection("127.0.0.1", self._port)
                try:
                    while loop.time() < ends:
                        await self._ask(*streams)
                        await asyncio.sleep(_PAUSE_SECONDS)
                finally:
                    streams[1].close()
        except (OSError, EOFError) as error:  # a TimeoutError is an OSError
            is_known = loop.time() - self.died_at < _GRACE_SECONDS
            if is_known and not isinstance(error, TimeoutError):
                self.outcomes["ended with its worker"] += 1
            else:
                self._problem(f"lost: {error!r}")

    async def be_hostile(self) -> None:
        """Send what no client should."""
        for data in _HOSTILE:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(data)
            try:
                async with asyncio.timeout(1):
                    await reader.read()
            except OSError:
                pass  # a reset, or still waiting for the rest of a body
            writer.close()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        model = self._rng.choice(self._models)
        x = self._rng.randrange(_ROWS)
        if self._rng.random() < _NEW:
            self._new = self._new % 1_000_000 + 1
            x = self._new
        body = b'{"x":%d}' % x
        path = f"/v1/api/model/{model}/eval".encode()
        head = b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-length: %d\r\n\r\n"
        writer.write(head % (path, len(body)) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = _fields(head)
        text = await reader.readexactly(int(fields["content-length"]))
        self._judge(int(head[9:12]), fields, text, x)

    def _judge(self, status: int, fields: dict[str, str], text: bytes, x: int) -> None:
        self.outcomes[f"status {status}"] += 1
        if status == 200:
            data: Any = json.loads(text)["data"]
            answered = Answered(fields["gomlx-version"], x, data["y"])
            if answered.version not in self.factors:
                self._unjudged.append(answered)
            elif not self._is_right(answered):
                self._problem(f"wrong: {answered}")
        elif status != 429:
            self._problem(f"status {status}: {text!r}")

    def judge_rest(self) -> None:
        """Judge the answers whose versions have become known; those of none are wrong.

        Called when all versions are known that the service has published.
        """
        for answered in self._unjudged:
            if answered.version not in self.factors or not self._is_right(answered):
                self._problem(f"wrong: {answered}")
        self._unjudged = []

    def _is_right(self, answered: Answered) -> bool:
        return answered.y == answered.x * self.factors[answered.version]

    def _problem(self, text: str) -> None:
        self.outcomes[text.partition(":")[0]] += 1
        self.problems.append(text)


def _fields(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":")[::2] for line in lines)
    return {name.lower(): value.strip() for name, value in pairs}
