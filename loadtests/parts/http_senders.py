"""Functions that send one POST each, with the HTTP libraries of Python.

Every sender is a context manager: it opens one kept connection, or a pool of them, and
yields the function. A library that is not installed raises ImportError.
"""

import asyncio
import http.client
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from typing import Any
from urllib.parse import urlsplit

BODY = b'{"x":1.5}'
PATH = "/v1/api/model/m/eval"
AT_ONCE = 16
Send = Callable[[], bytes]
AsyncSend = Callable[[], Awaitable[bytes]]


@contextmanager
def standard_library(url: str) -> Iterator[Send]:
    """http.client, which has no pool."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.connect()

    def send() -> bytes:
        connection.request("POST", PATH, BODY)
        return connection.getresponse().read()

    yield send
    connection.close()


@contextmanager
def aiohttp_in_a_thread(url: str) -> Iterator[Send]:
    """aiohttp in a loop in a thread of its own, as in gomlx's blocking client."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    stack = AsyncExitStack()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    send = run(stack.enter_async_context(async_aiohttp(url)))
    yield lambda: run(send())
    run(stack.aclose())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@contextmanager
def urllib3_pool(url: str) -> Iterator[Send]:
    """A PoolManager of urllib3."""
    import urllib3

    with urllib3.PoolManager() as pool:
        yield lambda: pool.request("POST", url + PATH, body=BODY).data


@contextmanager
def requests_session(url: str) -> Iterator[Send]:
    """A Session of requests."""
    import requests

    with requests.Session() as session:
        yield lambda: session.post(url + PATH, data=BODY).content


@contextmanager
def niquests_session(url: str) -> Iterator[Send]:
    """A Session of niquests."""
    import niquests

    with niquests.Session() as session:
        yield lambda: session.post(url + PATH, data=BODY).content or b""


@contextmanager
def httpcore_pool(url: str) -> Iterator[Send]:
    """A ConnectionPool of httpcore."""
    import httpcore

    with httpcore.ConnectionPool() as pool:
        yield lambda: pool.request("POST", url + PATH, content=BODY).content


@contextmanager
def httpx_client(url: str) -> Iterator[Send]:
    """A Client of httpx."""
    import httpx

    with httpx.Client() as client:
        yield lambda: client.post(url + PATH, content=BODY).content


@contextmanager
def pyreqwest_client(url: str) -> Iterator[Send]:
    """A blocking client of pyreqwest."""
    from pyreqwest.client import SyncClientBuilder

    with SyncClientBuilder().build() as client:
        yield lambda: bytes(
            client.post(url + PATH).body_bytes(BODY).build().send().bytes()
        )


@asynccontextmanager
async def asyncio_streams(url: str) -> AsyncIterator[AsyncSend]:
    """The floor: asyncio's streams, a head read to its end, a body by its length."""
    host, _, port = urlsplit(url).netloc.partition(":")
    free = [await asyncio.open_connection(host, int(port)) for _ in range(AT_ONCE)]
    opened = list(free)
    head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(BODY)}"
    request = head.encode() + b"\r\n\r\n" + BODY

    async def send() -> bytes:
        connection = free.pop()
        reader, writer = connection
        writer.write(request)
        got = await reader.readuntil(b"\r\n\r\n")
        length = int(got.lower().partition(b"content-length: ")[2].split()[0])
        body = await reader.readexactly(length)
        free.append(connection)
        return body

    yield send
    for _, writer in opened:
        writer.close()


@asynccontextmanager
async def async_aiohttp(url: str) -> AsyncIterator[AsyncSend]:
    """A ClientSession of aiohttp."""
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def send() -> bytes:
            async with session.post(url + PATH, data=BODY) as response:
                return await response.read()

        yield send


@asynccontextmanager
async def async_niquests(url: str) -> AsyncIterator[AsyncSend]:
    """An AsyncSession of niquests."""
    import niquests

    async with niquests.AsyncSession() as session:

        async def send() -> bytes:
            return (await session.post(url + PATH, data=BODY)).content or b""

        yield send


@asynccontextmanager
async def async_httpcore(url: str) -> AsyncIterator[AsyncSend]:
    """An AsyncConnectionPool of httpcore."""
    import httpcore

    async with httpcore.AsyncConnectionPool() as pool:

        async def send() -> bytes:
            return (await pool.request("POST", url + PATH, content=BODY)).content

        yield send


@asynccontextmanager
async def async_httpx(url: str) -> AsyncIterator[AsyncSend]:
    """An AsyncClient of httpx."""
    import httpx

    async with httpx.AsyncClient() as client:

        async def send() -> bytes:
            return (await client.post(url + PATH, content=BODY)).content

        yield send


@asynccontextmanager
async def async_pyreqwest(url: str) -> AsyncIterator[AsyncSend]:
    """An asynchronous client of pyreqwest."""
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def send() -> bytes:
            response = await client.post(url + PATH).body_bytes(BODY).build().send()
            return bytes(await response.bytes())

        yield send


SYNC: dict[str, Callable[[str], AbstractContextManager[Send]]] = {
    "http.client": standard_library,
    "aiohttp in a thread": aiohttp_in_a_thread,
    "urllib3": urllib3_pool,
    "requests": requests_session,
    "niquests": niquests_session,
    "httpcore": httpcore_pool,
    "httpx": httpx_client,
    "pyreqwest": pyreqwest_client,
}
ASYNC: dict[str, Callable[[str], AbstractAsyncContextManager[AsyncSend]]] = {
    "asyncio streams": asyncio_streams,
    "aiohttp": async_aiohttp,
    "niquests": async_niquests,
    "httpcore": async_httpcore,
    "httpx": async_httpx,
    "pyreqwest": async_pyreqwest,
}
