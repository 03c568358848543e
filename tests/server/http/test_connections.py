"""How long connections stay open, how many there may be, and who is not read from."""

import asyncio

import pytest

from gomlx.models.serving.servable import Servable
from tests.server.conftest import Path_, until
from tests.server.http.conftest import Server
from tests.server.http.messages import answers, post

pytestmark = pytest.mark.asyncio


async def test_an_incomplete_request_times_out(server: Server) -> None:
    reader, writer = await server.connect()
    request = post(b'{"x":1}')[:-3]
    writer.write(request)
    await server.receives(len(request))
    server.tick(4)
    assert server.connections.open
    server.tick(2)
    ((status, headers, _),) = answers(await asyncio.wait_for(reader.read(), 5))
    assert (status, headers["connection"]) == (408, "close")
    writer.close()


async def test_a_request_in_pieces_times_out_by_its_first_byte(server: Server) -> None:
    reader, writer = await server.connect()
    request = post(b'{"x":1}')
    for received in range(1, 7):
        writer.write(request[received - 1 : received])
        await server.receives(received)
        server.tick(1)
    ((status, _, _),) = answers(await asyncio.wait_for(reader.read(), 5))
    assert status == 408
    writer.close()


async def test_an_idle_connection_is_closed(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(post(b'{"x":1}'))
    await reader.readuntil(b"}}")
    server.tick(4)
    assert server.connections.open
    server.tick(2)
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()


async def test_stopping_closes_idle_connections_and_says_so_on_the_last_answer(
    server: Server,
) -> None:
    idle, idle_writer = await server.connect()
    busy, busy_writer = await server.connect()
    request = post(b'{"x":1}')
    busy_writer.write(request[:-2])
    await server.receives(len(request) - 2)
    await server.accepts(2)
    server.connections.stop()
    assert server.connections.open  # who was active just now may have sent a request
    assert await asyncio.wait_for(idle.read(), 30) == b""
    busy_writer.write(request[-2:])
    ((status, headers, _),) = answers(await asyncio.wait_for(busy.read(), 5))
    assert (status, headers["connection"]) == (200, "close")
    idle_writer.close()
    busy_writer.close()


async def test_more_connections_than_may_be(
    server: Server, path: Path_, servables: dict[float, Servable]
) -> None:
    """Each of them has a request that is being answered, so none makes room."""
    gate = path.gated(servables[2.0])
    opened = [await server.connect() for _ in range(20)]
    for n, (_, writer) in enumerate(opened):
        writer.write(post(b'{"x":%d}' % n))
    accepted = await server.accepts(20)
    await until(lambda: all(one.waits_since() is None for one in accepted))
    ((status, headers, _),) = answers(await server.talk())
    assert (status, headers["retry-after"]) == (503, "1")
    gate.go.set()
    for _, writer in opened:
        writer.close()
    await server.accepts(0)


async def test_a_peer_that_never_reads_is_disconnected(server: Server) -> None:
    _, writer = await server.connect()
    (connection,) = await server.accepts(1)
    while not connection.is_blocked():
        writer.write(post(b'{"x":1}') * 500)
        await asyncio.sleep(0.01)
    server.tick(60)
    await server.accepts(0)
    writer.transport.abort()


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
