"""The states of a connection, without a socket."""

import asyncio

import pytest
import pytest_asyncio

from gomlx.server.http.connections import Connections
from gomlx.server.http.cors import CorsRules
from gomlx.server.http.places import Places
from gomlx.server.http.protocol import HotProtocol
from tests.server.conftest import Path_
from tests.server.http.conftest import LIMITS, Fallback, handing_over
from tests.server.http.messages import EVAL, OTHERS, post, ys
from tests.server.http.transport import Transport

pytestmark = pytest.mark.asyncio


class Connection:
    """A connection on the hot protocol, without a socket."""

    def __init__(self, path: Path_) -> None:
        self.transport = Transport()
        places = Places(LIMITS.connections, int, lambda address: False)
        self.connections = Connections(
            {EVAL: "m"}, path.predictor, LIMITS, handing_over(), places, CorsRules(None)
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


class Crowd:
    """Connections whose requests for another route come in one turn."""

    def __init__(self, path: Path_) -> None:
        self.connections = Connection(path).connections
        self.transports = [Transport() for _ in range(20)]
        self.protocols = [HotProtocol(self.connections) for _ in self.transports]
        for transport, protocol in zip(self.transports, self.protocols, strict=True):
            protocol.connection_made(transport)
            protocol.data_received(OTHERS["another path"][:25])

    @property
    def handed_over(self) -> int:
        return sum(bool(transport.written) for transport in self.transports)

    async def turns(self) -> None:
        for _ in range(40):
            await asyncio.sleep(0)


async def test_other_requests_of_a_turn_wait_and_hits_do_not(path: Path_) -> None:
    crowd = Crowd(path)
    hit = HotProtocol(crowd.connections)
    transport = Transport()
    hit.connection_made(transport)
    hit.data_received(post(b'{"x":1}'))
    while not transport.written:
        await asyncio.sleep(0)
    assert ys(transport.written) == [2.0]
    assert 0 < crowd.handed_over < len(crowd.transports)
    await crowd.turns()
    assert crowd.handed_over == len(crowd.transports)


async def test_what_comes_before_its_turn_goes_on_with_it(path: Path_) -> None:
    crowd = Crowd(path)
    request = OTHERS["another path"]
    crowd.protocols[-1].data_received(request[25:])
    await crowd.turns()
    assert crowd.transports[-1].written == b"HANDED OVER:" + request


async def test_a_head_over_the_limit_is_not_handed_over(path: Path_) -> None:
    crowd = Crowd(path)
    crowd.protocols[-1].data_received(b"x: y\r\n" * LIMITS.header_bytes)
    await crowd.turns()
    assert crowd.transports[-1].written.startswith(b"HTTP/1.1 431 ")


async def test_one_that_is_lost_before_its_turn_is_not_handed_over(
    path: Path_,
) -> None:
    crowd = Crowd(path)
    crowd.protocols[-1].connection_lost(None)
    await crowd.turns()
    assert not crowd.transports[-1].written
    assert crowd.handed_over == len(crowd.transports) - 1


async def test_one_that_waits_for_its_turn_can_make_room(path: Path_) -> None:
    crowd = Crowd(path)
    last = crowd.protocols[-1]
    assert last.waits_since() is not None
    last.make_room()
    await crowd.turns()
    assert b"too many connections" in crowd.transports[-1].written
