"""When a connection that was handed over is closed, over Gunicorn's protocol."""

import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio
from gunicorn.config import Config

from gomlx.server.body import BodyBudget
from gomlx.server.http.idle import WatchedConnection
from gomlx.server.http.limits import HttpLimits
from tests.server.conftest import until

pytestmark = pytest.mark.asyncio

LIMITS = HttpLimits(1000, 500, 5, 0.1, 5, 20, BodyBudget(1 << 20))
GET = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"
NOW = 1e9  # by the connections' clock, always
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"  # frames of HTTP/2: length, type, flags, stream
GOAWAY = b"\0\0\x08\x07\0\0\0\0\0"


class Site:
    """A listening application, and its connections."""

    def __init__(self, port: int, watched: set[WatchedConnection]) -> None:
        self.port = port
        self.watched = watched

    async def connect(
        self, request: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(request)
        await until(lambda: self.watched)
        return reader, writer

    @property
    def connection(self) -> WatchedConnection:
        (connection,) = self.watched
        return connection


class Application:
    """Reads a request, and sends the pieces that a test puts into its queue."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes] = asyncio.Queue()
        self.called = self.sent = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.called += 1
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while piece := await self.pieces.get():
            body = {"type": "http.response.body", "body": piece, "more_body": True}
            await send(body)
            self.sent += 1
        await send({"type": "http.response.body", "body": b""})


async def refusal(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers without the body."""
    headers = [(b"content-length", b"2")]
    await send({"type": "http.response.start", "status": 404, "headers": headers})
    await send({"type": "http.response.body", "body": b"no"})


@pytest.fixture
def application() -> Application:
    return Application()


@pytest_asyncio.fixture
async def site(application: Application) -> AsyncIterator[Site]:
    config = Config()
    config.set("http_protocols", "h1,h2")
    config.set("http2_cleartext", "both")
    config.set("keepalive", 1000)
    log = logging.getLogger("gunicorn.test")
    log.access_log_enabled = False  # type: ignore[attr-defined]
    loop = asyncio.get_running_loop()
    numbers = {"nr_conns": 0, "nr": 0, "max_requests": 100, "alive": True}
    worker = SimpleNamespace(
        cfg=config, log=log, asgi=application, loop=loop, **numbers
    )
    watched: set[WatchedConnection] = set()
    listening = await loop.create_server(
        lambda: WatchedConnection(worker, watched, LIMITS, lambda: NOW), "127.0.0.1", 0
    )
    yield Site(listening.sockets[0].getsockname()[1], watched)
    listening.close()
    for connection in list(watched):
        connection.transport.abort()
    await until(lambda: not watched)


async def is_cut_off(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return True
    return reader.at_eof()


@pytest.mark.parametrize(
    "request_",
    [b"", GET[:9], b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n\r\n1"],
)
async def test_one_that_is_idle_or_waited_for(site: Site, request_: bytes) -> None:
    reader, writer = await site.connect(request_)
    await asyncio.sleep(0.05)
    site.connection.check(NOW + 4, 5)
    assert site.watched
    site.connection.check(NOW + 6, 5)
    assert await is_cut_off(reader)
    writer.close()


async def test_one_of_http2_that_is_idle(site: Site) -> None:
    reader, writer = await site.connect(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SETTINGS)
    frames = await asyncio.wait_for(reader.read(), 10)
    assert GOAWAY in frames
    writer.close()


async def test_one_whose_answer_is_being_made(
    site: Site, application: Application
) -> None:
    reader, writer = await site.connect(GET)
    await until(lambda: application.called)
    site.connection.check(NOW + 60, 5)
    assert site.watched
    application.pieces.put_nowait(b"answer")
    application.pieces.put_nowait(b"")
    assert b"answer" in await reader.readuntil(b"0\r\n\r\n")
    await until(lambda: not site.connection.is_working)
    site.connection.check(NOW + 66, 5)
    assert await is_cut_off(reader)
    writer.close()


async def test_one_that_sends_nothing_but_reads(
    site: Site, application: Application
) -> None:
    reader, writer = await site.connect(GET)
    await until(lambda: application.called)
    application.pieces.put_nowait(b"x" * 40_000_000)
    await until(lambda: not site.connection.is_working)  # it waits for the reader
    assert not application.sent
    now = NOW
    site.connection.check(now, 5)
    for _ in range(4):
        unsent = site.connection.transport.get_write_buffer_size()
        await reader.readexactly(8_000_000)
        await until(
            lambda n=unsent: site.connection.transport.get_write_buffer_size() < n  # type: ignore[misc]
        )
        now += 4
        site.connection.check(now, 5)
    site.connection.check(now + 6, 5)  # now it does not
    await until(lambda: not site.watched)
    writer.close()


POST = b"POST / HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\n"


@pytest.mark.parametrize("application", [refusal])
async def test_a_body_that_comes_after_the_answer_is_made(site: Site) -> None:
    reader, writer = await site.connect(POST + b"\r\n")
    for _ in range(3):
        await asyncio.sleep(0.05)
        writer.write(b"12345")
        answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nno"), 10)
        assert b" 404 " in answer
        assert b"connection: close" not in answer.lower()
        writer.write(POST + b"\r\n")
    writer.close()


@pytest.mark.parametrize("application", [refusal])
@pytest.mark.parametrize(
    "request_",
    [
        POST + b"\r\n1",  # and no more
        POST + b"expect: 100-continue\r\n\r\n",
        POST.replace(b" 5", b" 500000") + b"\r\n" + b"x" * 400_000,
    ],
)
async def test_a_close_is_announced(site: Site, request_: bytes) -> None:
    reader, writer = await site.connect(request_)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nno"), 10)
    assert b"connection: close\r\n" in answer.lower()
    assert await is_cut_off(reader)
    writer.close()


@pytest.mark.parametrize("application", [refusal])
async def test_one_is_idle_between_requests(site: Site) -> None:
    reader, writer = await site.connect(GET)
    await reader.readuntil(b"\r\n\r\nno")
    await until(lambda: site.connection.is_idle)
    writer.write(GET[:9])
    await until(lambda: not site.connection.is_idle)
    writer.write(GET[9:])
    await reader.readuntil(b"\r\n\r\nno")
    await until(lambda: site.connection.is_idle)
    site.connection.close()
    assert await is_cut_off(reader)
    writer.close()
