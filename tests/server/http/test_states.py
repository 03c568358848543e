"""The states of a connection, without a socket."""

import asyncio

import pytest
import pytest_asyncio

from gomlx.server.http.connections import Connections
from gomlx.server.http.cors import CorsRules
from gomlx.server.http.places import Places
from gomlx.server.http.protocol import HotProtocol
from tests.server.conftest import Path_
from tests.server.http.conftest import LIMITS, SUCCESSORS, Fallback
from tests.server.http.messages import EVAL, OTHERS, post, ys
from tests.server.http.transport import Transport

pytestmark = pytest.mark.asyncio


class Connection:
    """A connection on the hot protocol, without a socket."""

    def __init__(self, path: Path_) -> None:
        self.transport = Transport()
        places = Places(LIMITS.connections, int, lambda address: False)
        self.connections = Connections(
            {EVAL: "m"}, path.predictor, LIMITS, SUCCESSORS, places, CorsRules(None)
        )
        self.protocol = HotProtocol(self.connections)
        self.protocol.connection_made(self.transport)

    async def receive(self, data: bytes) -> list[float]:
        """Receive bytes; return the outputs of the answers."""
        self.protocol.data_received(data)
        return ys(await self.written())

    async def written(self) -> bytes:
        """Let some turns end; return what was written meanwhile."""
        for _ in range(20):
            await asyncio.sleep(0)
        written = self.transport.written
        self.transport.written = b""
        return written


@pytest_asyncio.fixture
async def connection(path: Path_) -> Connection:
    return Connection(path)


async def test_a_blocked_peer_gets_no_more_answers(connection: Connection) -> None:
    assert await connection.receive(post(b'{"x":1}')) == [2.0]
    connection.protocol.pause_writing()
    assert await connection.receive(post(b'{"x":1}')) == []
    assert await connection.receive(post(b'{"x":1}')) == []
    connection.protocol.resume_writing()
    assert ys(await connection.written()) == [2.0, 2.0]
    assert not connection.transport.calls


async def test_a_blocked_peer_that_sends_on_is_not_read_from(
    connection: Connection,
) -> None:
    await connection.receive(post(b'{"x":1}'))
    connection.protocol.pause_writing()
    most = LIMITS.header_bytes + LIMITS.body_bytes
    count = most // len(post(b'{"x":1}'))
    await connection.receive(post(b'{"x":1}') * count)
    assert not connection.transport.calls
    await connection.receive(post(b'{"x":1}'))
    assert connection.transport.calls == ["pause"]
    connection.protocol.resume_writing()
    assert ys(await connection.written()) == [2.0] * (count + 1)
    assert connection.transport.calls == ["pause", "resume"]


async def test_a_blocked_peer_is_disconnected_after_a_while(
    connection: Connection,
) -> None:
    await connection.receive(post(b'{"x":1}'))
    connection.protocol.pause_writing()
    now = connection.connections.now
    connection.connections.tick(now + LIMITS.keepalive_seconds)
    assert not connection.transport.calls
    connection.connections.tick(now + LIMITS.keepalive_seconds + 1)
    assert connection.transport.calls == ["abort"]


async def test_nothing_is_read_while_closing(connection: Connection) -> None:
    request = post(b'{"x":1}', b"connection: close")
    assert await connection.receive(request + request) == [2.0]
    assert await connection.receive(post(b'{"x":1}')) == []
    assert connection.transport.calls == ["close"]
    now = connection.connections.now
    connection.connections.tick(now + LIMITS.keepalive_seconds + 1)
    assert connection.transport.calls == ["close", "abort"]


async def test_a_paused_connection_is_handed_over_for_reading(
    connection: Connection,
) -> None:
    requests = post(b'{"x":1}') * 30
    connection.protocol.data_received(requests + OTHERS["another path"])
    assert connection.transport.calls == ["pause"]
    answered, _, rest = (await connection.written()).partition(b"HANDED OVER:")
    assert ys(answered) == [2.0] * 30
    assert rest == OTHERS["another path"]
    assert connection.transport.calls == ["pause", "resume", "close"]
    assert isinstance(connection.transport.protocol, Fallback)
    assert not connection.connections.open
