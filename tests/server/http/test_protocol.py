"""The hot protocol, byte by byte, with a real predictor behind it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gomlx.models.serving.current import LiveVersion
from gomlx.models.serving.servable import Servable
from gomlx.server.http.connections import Connections
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.protocol import HotProtocol
from gomlx.server.http.response import CONTINUE
from tests.server.conftest import Gate, Path_, until

pytestmark = pytest.mark.asyncio

EVAL = b"/v1/api/model/m/eval"


class Taker(asyncio.Protocol):
    """What a connection is handed to: it tells which bytes came."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(b"TAKEN:" + data)
        self.transport.close()


class Server:
    """A listening hot protocol."""

    def __init__(self, connections: Connections, port: int) -> None:
        self.connections, self.port = connections, port
        self.counted: list[int] = []

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

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


@pytest_asyncio.fixture
async def server(path: Path_) -> AsyncIterator[Server]:
    counted: list[int] = []

    def count(change: int) -> int:
        counted.append(change)
        return sum(counted)

    connections = Connections(
        {EVAL: "m"}, path.predictor, HttpLimits(1000, 500, 5, 5, 5, 20), Taker, count
    )
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: HotProtocol(connections), "127.0.0.1", 0
    )
    server = Server(connections, listening.sockets[0].getsockname()[1])
    server.counted = counted
    yield server
    listening.close()
    for connection in list(connections.open):
        connection._transport.abort()  # type: ignore[union-attr]  # an open one has one
    await until(lambda: not connections.open)


def post(body: bytes, *headers: bytes, path: bytes = EVAL) -> bytes:
    lines = [b"POST %b HTTP/1.1" % path, b"host: h", b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, *headers, b"", body])


def answers(text: bytes) -> list[tuple[int, dict[str, str], Any]]:
    """Split what a server sent into (status, headers, document)."""
    found = []
    while text:
        head, _, rest = text.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        if first == "HTTP/1.1 100 Continue":
            text = rest  # to see whether we are still there
            continue
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers["content-length"])
        found.append((int(first.split()[1]), headers, json.loads(rest[:size])))
        text = rest[size:]
    return found


def ys(text: bytes) -> list[float]:
    return [document["data"]["y"] for _, _, document in answers(text)]


async def test_one_request(server: Server) -> None:
    ((status, headers, document),) = answers(
        await server.talk(post(b'{"x":1}', b"connection: close"))
    )
    assert (status, document["data"]) == (200, {"y": 2.0})
    assert headers["connection"] == "close"
    assert headers["date"].endswith("GMT")


async def test_a_query(server: Server) -> None:
    request = b"GET %b?x=4 HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n" % EVAL
    assert ys(await server.talk(request)) == [8.0]


async def test_every_way_to_cut_a_request_in_two(server: Server) -> None:
    request = post(b'{"x":3}', b"connection: close")
    for i in range(1, len(request)):
        assert ys(await server.talk(request[:i], request[i:])) == [6.0]


async def test_byte_by_byte(server: Server) -> None:
    request = post(b'{"x":3}', b"connection: close")
    assert ys(
        await server.talk(*(request[i : i + 1] for i in range(len(request))))
    ) == [6.0]


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    last = post(b'{"x":9}', b"connection: close")
    hits_and_misses = b"".join(post(b'{"x":%d}' % (n % 4)) for n in range(12))
    found = ys(await server.talk(hits_and_misses + last))
    assert found == [2.0 * (n % 4) for n in range(12)] + [18.0]


async def test_a_bad_body_leaves_the_connection_open(server: Server) -> None:
    text = await server.talk(post(b"{") + post(b'{"x":1}', b"connection: close"))
    assert [status for status, _, _ in answers(text)] == [400, 200]


OTHERS = {
    "another path": b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n",
    "another method": b"DELETE %b HTTP/1.1\r\nhost: h\r\n\r\n" % EVAL,
    "HTTP/1.0": b"GET %b?x=1 HTTP/1.0\r\nhost: h\r\n\r\n" % EVAL,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "chunked": b"POST %b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    b'7\r\n{"x":1}\r\n0\r\n\r\n' % EVAL,
    "expect": post(b'{"x":1}', b"expect: 100-continue"),
    "upgrade": post(b'{"x":1}', b"connection: upgrade", b"upgrade: h2c"),
    "no host": b"GET %b?x=1 HTTP/1.1\r\n\r\n" % EVAL,
    "body over the limit": post(b" " * 1001),
    "two lengths": post(b'{"x":1}', b"content-length: 8"),
    "length and chunks": post(b'{"x":1}', b"transfer-encoding: chunked"),
    "bad length": b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-length: +7\r\n\r\n" % EVAL,
    "space before colon": post(b'{"x":1}', b"x : y"),
    "folded header": post(b'{"x":1}', b"x: y", b" z"),
    "a get with a body": b"GET %b?x=1 HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx"
    % EVAL,
    "garbage": b"\x00\x01\x02",
    "leading empty line": b"\r\n" + post(b'{"x":1}'),
    "no time at all": post(b'{"x":1}', b"request-timeout-ms: 0"),
    "two hosts": post(b'{"x":1}', b"host: other"),
    "two types": post(b'{"x":1}', *[b"content-type: text/json"] * 2),
    "a query of other bytes": b"GET %b?x=\x80 HTTP/1.1\r\nhost: h\r\n\r\n" % EVAL,
    "two times": post(b'{"x":1}', *[b"request-timeout-ms: 5"] * 2),
    "no time to read": post(b'{"x":1}', b"request-timeout-ms: soon"),
}


@pytest.mark.parametrize("what", OTHERS)
async def test_anything_else_is_handed_over_whole(server: Server, what: str) -> None:
    request = OTHERS[what]
    assert await server.talk(request) == b"TAKEN:" + request
    assert sum(server.counted) == 0


@pytest.mark.parametrize("what", OTHERS)
async def test_what_was_answered_is_not_handed_over(server: Server, what: str) -> None:
    text = await server.talk(post(b'{"x":1}') + OTHERS[what])
    answered, _, taken = text.partition(b"TAKEN:")
    assert ys(answered) == [2.0]
    assert taken == OTHERS[what]


HEADS = {
    "whole": post(b'{"x":1}', b"x: " + b"y" * 500),
    "endless": b"POST %b HTTP/1.1\r\nx: " % EVAL + b"y" * 600,
    "without line ends": b"GET %b?x=1 HTTP/1.1\nhost: h\n\n" % EVAL + b" " * 600,
    "of another route": b"GET /livez HTTP/1.1\r\nx: " + b"y" * 600 + b"\r\n\r\n",
}


@pytest.mark.parametrize("what", HEADS)
async def test_a_head_over_the_limit(server: Server, what: str) -> None:
    ((status, headers, document),) = answers(await server.talk(HEADS[what]))
    assert (status, headers["connection"]) == (431, "close")
    assert "500 bytes" in document["error"]


async def test_handed_over_while_reading_is_paused(server: Server) -> None:
    first = b"".join(post(b'{"x":%d}' % n) for n in range(40))
    text = await server.talk(first + OTHERS["chunked"])
    answered, _, taken = text.partition(b"TAKEN:")
    assert ys(answered) == [2.0 * n for n in range(40)]
    assert taken == OTHERS["chunked"]


async def test_a_peer_that_never_reads_is_cut_off(server: Server) -> None:
    _, writer = await server.connect()
    await until(lambda: server.connections.open)
    (connection,) = server.connections.open
    while not connection._is_slow:
        writer.write(post(b'{"x":1}') * 500)
        await asyncio.sleep(0.01)
    connection.check(server.connections.now + 60)
    await until(lambda: not server.connections.open)
    writer.transport.abort()


async def test_more_requests_at_once_than_a_turn_answers(server: Server) -> None:
    async def asked(first: int) -> list[float]:
        numbers = range(first, first + 30)
        return ys(await server.talk(b"".join(post(b'{"x":%d}' % n) for n in numbers)))

    found = await asyncio.gather(*(asked(100 * n) for n in range(15)))
    for n, values in enumerate(found):
        assert values == [2.0 * x for x in range(100 * n, 100 * n + 30)]


async def test_large_requests_at_once_are_answered_in_turns(server: Server) -> None:
    body = b'{"x":7}' + b" " * 400  # the limit here is 500 bytes
    found = await asyncio.gather(*(server.talk(post(body) * 50) for _ in range(15)))
    assert [ys(text) for text in found] == [[14.0] * 50] * 15


async def test_a_client_that_leaves_before_it_is_asked_for(
    server: Server, path: Path_
) -> None:
    """The bytes and the end of a connection in one turn of the event loop."""
    _, writer = await server.connect()
    await until(lambda: server.connections.open)
    (connection,) = server.connections.open
    assert connection._transport
    connection._transport.abort()
    connection.data_received(post(b'{"x":55}'))
    await until(lambda: not server.connections.open)
    await asyncio.sleep(0.05)
    assert path.runs() == 0
    assert path.counts.counter("gomlx_requests", "m", "499").n == 1
    assert path.counts.counter("gomlx_requests_canceled", "m").n == 1
    assert path.counts.counter("gomlx_requests", "m", "200").n == 0
    writer.transport.abort()


async def test_a_client_that_leaves_before_its_answer(
    server: Server, path: Path_
) -> None:
    _, writer = await server.connect()
    writer.write(post(b'{"x":77}'))
    writer.transport.abort()
    await until(lambda: server.counted == [1, -1])
    live = path.current.get("m")
    assert live
    await until(lambda: live.pins == 0)


class Queued:
    """A connection whose row, 1, waits behind another's that runs."""

    def __init__(self, gate: Gate, live: LiveVersion) -> None:
        self.gate, self.live = gate, live

    async def connect(self, server: Server) -> "Queued":
        self.first, self.first_writer = await server.connect()
        self.first_writer.write(post(b'{"x":0}'))
        await self.gate.wait()
        self.reader, self.writer = await server.connect()
        self.writer.write(post(b'{"x":1}'))
        await until(lambda: len(self.live.batcher) == 1)
        return self

    async def run(self) -> list[float]:
        """Let all go on; return the rows that ran."""
        self.gate.go.set()
        await self.first.readuntil(b"}}")
        await until(lambda: self.live.pins == 0)
        return self.gate.rows

    def close(self) -> None:
        self.first_writer.close()
        self.writer.close()


@pytest_asyncio.fixture
async def queued(
    server: Server, path: Path_, servables: dict[float, Servable]
) -> AsyncIterator[Queued]:
    gate, live = path.gated(servables[2.0]), path.current.get("m")
    assert live
    queued = await Queued(gate, live).connect(server)
    yield queued
    queued.close()


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_client_that_goes_is_not_computed_for(
    path: Path_, queued: Queued, is_reset: bool
) -> None:
    if is_reset:
        queued.writer.transport.abort()
    else:
        queued.writer.close()
    canceled = path.counts.counter("gomlx_requests_canceled", "m")
    await until(lambda: canceled.n)
    assert await queued.run() == [0.0]


async def test_a_client_that_only_sends_no_more_is_answered(queued: Queued) -> None:
    queued.writer.write_eof()
    assert await queued.reader.readuntil(b"\r\n\r\n") == CONTINUE
    await asyncio.sleep(0.1)  # it is looked at again, and is still there
    assert await queued.run() == [0.0, 1.0]
    assert ys(await asyncio.wait_for(queued.reader.read(), 10)) == [2.0]


async def test_a_request_says_how_long_it_waits(
    server: Server, path: Path_, servables: dict[float, Servable]
) -> None:
    gate = path.gated(servables[2.0])
    reader, writer = await server.connect()
    writer.write(post(b'{"x":1}', b"Request-Timeout-Ms: 20") + post(b"{"))
    ((status, headers, _),) = answers(await reader.readuntil(b'config)"}'))
    assert status == 504
    assert "connection" not in headers
    assert (await reader.readline()).split()[1] == b"400"
    gate.go.set()
    writer.close()


async def test_an_incomplete_request_times_out(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(post(b'{"x":1}')[:-3])
    await writer.drain()
    await until(lambda: [c for c in server.connections.open if c._buffer])
    (connection,) = server.connections.open
    connection.check(server.connections.now + 4)
    assert server.connections.open
    connection.check(server.connections.now + 6)
    ((status, headers, _),) = answers(await asyncio.wait_for(reader.read(), 5))
    assert (status, headers["connection"]) == (408, "close")
    writer.close()


async def test_an_idle_connection_is_closed(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(post(b'{"x":1}'))
    await reader.readuntil(b"}}")
    (connection,) = server.connections.open
    connection.check(server.connections.now + 6)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_stopping_closes_idle_connections_and_says_so_on_the_last_answer(
    server: Server,
) -> None:
    idle, idle_writer = await server.connect()
    busy, busy_writer = await server.connect()
    request = post(b'{"x":1}')
    busy_writer.write(request[:-2])
    await busy_writer.drain()
    await until(lambda: [c for c in server.connections.open if c._buffer])
    await until(lambda: len(server.connections.open) == 2)
    server.connections.stop()
    assert await asyncio.wait_for(idle.read(), 5) == b""
    busy_writer.write(request[-2:])
    ((status, headers, _),) = answers(await asyncio.wait_for(busy.read(), 5))
    assert (status, headers["connection"]) == (200, "close")
    idle_writer.close()
    busy_writer.close()


async def test_more_connections_than_may_be(server: Server) -> None:
    opened = [await server.connect() for _ in range(20)]
    await until(lambda: len(server.connections.open) == 20)
    ((status, headers, _),) = answers(await server.talk())
    assert status == 503
    assert headers["retry-after"]
    for _, writer in opened:
        writer.close()


async def test_a_peer_that_does_not_read_is_not_read_from(server: Server) -> None:
    reader, writer = await server.connect()
    request = post(b'{"x":1}')
    sent = 0
    try:
        while True:
            writer.write(request * 200)
            await asyncio.wait_for(writer.drain(), 0.5)
            sent += 200
            assert sent < 1_000_000
    except TimeoutError:
        pass  # the server has stopped reading: our buffer is full
    writer.write_eof()
    text = await asyncio.wait_for(reader.read(), 60)
    found = text.count(b'"y":2.0')
    assert found >= sent
    writer.close()
