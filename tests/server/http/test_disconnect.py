"""Clients that disconnect, or only half-close: what is computed and answered."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from gomlx.models.serving.current import LiveVersion
from gomlx.models.serving.servable import Servable
from gomlx.server.http.response import CONTINUE
from gomlx.server.predict.reply import Reply
from tests.server.conftest import Gate, Path_, until
from tests.server.http.conftest import Server
from tests.server.http.messages import EVAL, answers, post, ys

pytestmark = pytest.mark.asyncio


async def test_a_client_that_disconnects_before_its_request_is_predicted(
    server: Server, path: Path_
) -> None:
    """The bytes and the end of a connection in one turn of the event loop."""
    _, writer = await server.connect()
    (connection,) = await server.accepts(1)
    connection.transport.abort()
    connection.data_received(post(b'{"x":55}'))
    await server.accepts(0)
    await asyncio.sleep(0.05)
    assert path.runs() == 0
    assert path.counts.counter("gomlx_requests", "m", "499").n == 1
    assert path.counts.counter("gomlx_requests_canceled", "m").n == 1
    assert path.counts.counter("gomlx_requests", "m", "200").n == 0
    writer.transport.abort()


async def test_a_client_that_disconnects_before_its_answer(
    server: Server, path: Path_
) -> None:
    _, writer = await server.connect()
    writer.write(post(b'{"x":77}'))
    writer.transport.abort()
    await until(lambda: server.counted == [1, -1])
    live = path.current.get("m")
    assert live
    await until(lambda: live.pins == 0)


async def test_a_reply_to_a_disconnected_client_is_dropped(
    server: Server, path: Path_
) -> None:
    _, writer = await server.connect()
    (connection,) = await server.accepts(1)
    connection.data_received(post(b'{"x":55}'))
    connection.transport.abort()
    await server.accepts(0)
    connection.reply(Reply(200, b"{}"))
    assert not server.connections.open
    assert connection.transport.get_write_buffer_size() == 0
    writer.transport.abort()


class Queued:
    """A connection whose row, 1, waits behind another's that runs."""

    def __init__(self, gate: Gate, live: LiveVersion) -> None:
        self.gate = gate
        self.live = live

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
    gate = path.gated(servables[2.0])
    live = path.current.get("m")
    assert live
    queued = await Queued(gate, live).connect(server)
    yield queued
    queued.close()


@pytest.mark.parametrize("is_reset", [False, True])
async def test_a_client_that_disconnects_is_not_computed_for(
    path: Path_, queued: Queued, is_reset: bool
) -> None:
    if is_reset:
        queued.writer.transport.abort()
    else:
        queued.writer.close()
    canceled = path.counts.counter("gomlx_requests_canceled", "m")
    await until(lambda: canceled.n)
    assert await queued.run() == [0.0]


async def test_a_half_closed_client_is_answered(queued: Queued) -> None:
    queued.writer.write_eof()
    assert await queued.reader.readuntil(b"\r\n\r\n") == CONTINUE
    await asyncio.sleep(0.1)  # it is probed, and is still there
    assert await queued.run() == [0.0, 1.0]
    assert ys(await asyncio.wait_for(queued.reader.read(), 10)) == [2.0]


async def test_a_client_that_ends_within_a_request_is_disconnected(
    server: Server,
) -> None:
    """At once: the rest of its request never comes."""
    reader, writer = await server.connect()
    writer.write(post(b'{"x":1}')[:-1])
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 2) == b""
    writer.close()


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


async def test_a_half_closed_client_of_http_1_0_is_not_probed(
    server: Server, path: Path_, servables: dict[float, Servable]
) -> None:
    """It must not be sent 100 Continue (RFC 9110, section 15.2)."""
    gate = path.gated(servables[2.0])
    reader, writer = await server.connect()
    writer.write(b"GET %b?x=5 HTTP/1.0\r\n\r\n" % EVAL)
    await gate.wait()
    writer.write_eof()
    await asyncio.sleep(0.1)  # a probe would be sent, and looked at, meanwhile
    gate.go.set()
    text = await asyncio.wait_for(reader.read(), 30)
    assert text.startswith(b"HTTP/1.1 200 ")
    assert ys(text) == [10.0]
    writer.close()
