"""A listening hot protocol, with a real predictor behind it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from gomlx.config.schema import Cors
from gomlx.server.body import BodyBudget
from gomlx.server.http.connections import Connections, Successors
from gomlx.server.http.cors import CorsRules
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.places import Places
from gomlx.server.http.protocol import HotProtocol
from tests.server.conftest import Path_, until
from tests.server.http.messages import EVAL

LIMITS = HttpLimits(1000, 500, 5, 5, 5, 20, BodyBudget(1 << 20))


class Fallback(asyncio.Protocol):
    """What a connection is handed over to: it returns the bytes that it gets."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"HANDED OVER:" + data)
        self.transport.close()


class Observed(HotProtocol):
    """A connection that counts what it has received, and shows its transport."""

    transport: asyncio.Transport

    def __init__(self, connections: Connections) -> None:
        super().__init__(connections)
        self.received = 0  # bytes

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        super().data_received(data)

    def is_blocked(self) -> bool:
        """Whether the peer does not read, and the transport's buffer is full."""
        _, most = self.transport.get_write_buffer_limits()
        return self.transport.get_write_buffer_size() > most


def handing_over() -> Successors:
    """Return what hands every connection over to a Fallback."""
    return Successors(lambda _: Fallback(), None, lambda peer: False)


class Server:
    """A listening hot protocol.

    counted: each change of the number of connections. proxies: whose connections are
    those of many clients.
    """

    def __init__(
        self,
        path: Path_,
        cors: Cors | None = None,
        successors: Successors | None = None,
    ) -> None:
        self.accepted: list[Observed] = []
        self.counted: list[int] = []
        self.proxies: set[str] = set()
        self.port = 0
        places = Places(LIMITS.connections, self._count, self.proxies.__contains__)
        self.connections = Connections(
            {EVAL: "m"},
            path.predictor,
            LIMITS,
            successors or handing_over(),
            places,
            CorsRules(cors),
        )

    def accept(self) -> Observed:
        """Make the protocol of one more connection."""
        self.accepted.append(Observed(self.connections))
        return self.accepted[-1]

    async def accepts(self, count: int) -> list[Observed]:
        """Wait until so many connections are open; return all that ever were."""
        await until(lambda: len(self.connections.open) == count)
        return self.accepted

    async def receives(self, size: int) -> None:
        """Wait for so many bytes in all."""
        await until(lambda: sum(one.received for one in self.accepted) == size)

    def tick(self, seconds: float) -> None:
        """Let so many seconds pass for the connections."""
        self.connections.tick(self.connections.now + seconds)

    async def connect(
        self, source: str = "127.0.0.1"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect from an address of loopback."""
        return await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=(source, 0)
        )

    async def talk(self, *parts: bytes) -> bytes:
        """Send parts one by one, close our side, and return all that comes back."""
        reader, writer = await self.connect()
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.001)  # so that they arrive apart
        writer.write_eof()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer

    def _count(self, change: int) -> int:
        self.counted.append(change)
        return sum(self.counted)


@pytest_asyncio.fixture
async def server(path: Path_) -> AsyncIterator[Server]:
    server = Server(path)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(server.accept, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    for connection in server.accepted:
        connection.transport.abort()
    await until(lambda: not server.connections.open)
