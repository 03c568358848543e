"""Connections whose handshake is not over have places, and make room."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gomlx.server.http.tls.handshake import Handshake
from tests.server.conftest import Path_, until
from tests.server.http.conftest import LIMITS, Server
from tests.server.http.messages import post
from tests.support.certificates import Endpoint

pytestmark = pytest.mark.asyncio

CROWD = "127.0.0.2"
HELLO = b"\x16\x03\x01\x02\x00\x01"
MOST = LIMITS.connections


@pytest.fixture
def files(tmp_path: Path) -> Endpoint:
    return Endpoint(tmp_path)


@pytest_asyncio.fixture
async def server(path: Path_, files: Endpoint) -> AsyncIterator[Server]:
    server = Server(path)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.certificate, files.key)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(
        lambda: Handshake(server.connections, context, lambda _: server.accept()),
        "127.0.0.1",
        0,
    )
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    for connection in server.accepted:
        connection.transport.abort()
    await until(lambda: not server.connections.open)
    assert not sum(server.counted)


async def answer(server: Server, files: Endpoint) -> bytes:
    """Connect by TLS, and ask."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, ssl=files.trust(False), server_hostname="localhost"
    )
    writer.write(post(b'{"x":1}'))
    text = await asyncio.wait_for(reader.readuntil(b"}}"), 10)
    writer.transport.abort()
    return text


async def test_a_request_after_a_handshake(server: Server, files: Endpoint) -> None:
    assert b'"y":2.0' in await answer(server, files)


@pytest.mark.parametrize("sent", [b"", HELLO], ids=["nothing", "a part of it"])
async def test_stalled_handshakes_make_room(
    server: Server, files: Endpoint, sent: bytes
) -> None:
    stalled = [await server.connect(CROWD) for _ in range(2 * MOST)]
    for _, writer in stalled:
        writer.write(sent)
    await until(lambda: len(server.connections.open) == MOST)
    for _ in range(3):
        assert b'"y":2.0' in await answer(server, files)
    for _, writer in stalled:
        writer.transport.abort()


async def test_a_stop_waits_for_no_handshake(server: Server) -> None:
    reader, writer = await server.connect()
    await until(lambda: len(server.connections.open) == 1)
    server.connections.stop()
    assert await asyncio.wait_for(reader.read(), 10) == b""
    writer.close()


async def test_what_is_not_tls_loses_its_place(server: Server) -> None:
    reader, writer = await server.connect()
    writer.write(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 10)
    await until(lambda: not server.connections.open)
    writer.close()
