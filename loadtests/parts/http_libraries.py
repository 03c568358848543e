"""What one POST costs with each HTTP library.

    python -m loadtests.parts.http_libraries URL

URL is that of a running service with a model `m` that takes one number, x. Every
library that is installed sends the same row over one kept connection; they alternate,
so that other load on the machine affects all alike. Prints the median, in microseconds:
of wall time one after the other, and of this process's CPU time with 16 at once.
"""

import asyncio
import http.client
import statistics
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from time import perf_counter, process_time
from typing import Any
from urllib.parse import urlsplit

BODY = b'{"x":1.5}'
PATH = "/v1/api/model/m/eval"
ROUNDS = 9
CALLS = 96
AT_ONCE = 16
Send = Callable[[], bytes]
AsyncSend = Callable[[], Awaitable[bytes]]


@contextmanager
def standard_library(url: str) -> Iterator[Send]:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    connection.connect()

    def send() -> bytes:
        connection.request("POST", PATH, BODY)
        return connection.getresponse().read()

    yield send
    connection.close()


@contextmanager
def aiohttp_in_a_thread(url: str) -> Iterator[Send]:
    """As our blocking client does it: a loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    stack = AsyncExitStack()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result()

    send = run(stack.enter_async_context(aiohttp_(url)))
    yield lambda: run(send())
    run(stack.aclose())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()


@contextmanager
def urllib3_(url: str) -> Iterator[Send]:
    import urllib3

    with urllib3.PoolManager() as pool:
        yield lambda: pool.request("POST", url + PATH, body=BODY).data


@contextmanager
def requests_(url: str) -> Iterator[Send]:
    import requests

    with requests.Session() as session:
        yield lambda: session.post(url + PATH, data=BODY).content


@contextmanager
def niquests_(url: str) -> Iterator[Send]:
    import niquests

    with niquests.Session() as session:
        yield lambda: session.post(url + PATH, data=BODY).content or b""


@contextmanager
def httpcore_(url: str) -> Iterator[Send]:
    import httpcore

    with httpcore.ConnectionPool() as pool:
        yield lambda: pool.request("POST", url + PATH, content=BODY).content


@contextmanager
def httpx_(url: str) -> Iterator[Send]:
    import httpx

    with httpx.Client() as client:
        yield lambda: client.post(url + PATH, content=BODY).content


@contextmanager
def pyreqwest_(url: str) -> Iterator[Send]:
    from pyreqwest.client import SyncClientBuilder

    with SyncClientBuilder().build() as client:
        yield lambda: bytes(
            client.post(url + PATH).body_bytes(BODY).build().send().bytes()
        )


@asynccontextmanager
async def aiohttp_(url: str) -> AsyncIterator[AsyncSend]:
    import aiohttp

    async with aiohttp.ClientSession() as session:

        async def send() -> bytes:
            async with session.post(url + PATH, data=BODY) as response:
                return await response.read()

        yield send


@asynccontextmanager
async def async_niquests(url: str) -> AsyncIterator[AsyncSend]:
    import niquests

    async with niquests.AsyncSession() as session:

        async def send() -> bytes:
            return (await session.post(url + PATH, data=BODY)).content or b""

        yield send


@asynccontextmanager
async def async_httpcore(url: str) -> AsyncIterator[AsyncSend]:
    import httpcore

    async with httpcore.AsyncConnectionPool() as pool:

        async def send() -> bytes:
            return (await pool.request("POST", url + PATH, content=BODY)).content

        yield send


@asynccontextmanager
async def async_httpx(url: str) -> AsyncIterator[AsyncSend]:
    import httpx

    async with httpx.AsyncClient() as client:

        async def send() -> bytes:
            return (await client.post(url + PATH, content=BODY)).content

        yield send


@asynccontextmanager
async def async_pyreqwest(url: str) -> AsyncIterator[AsyncSend]:
    from pyreqwest.client import ClientBuilder

    async with ClientBuilder().build() as client:

        async def send() -> bytes:
            response = await client.post(url + PATH).body_bytes(BODY).build().send()
            return bytes(await response.bytes())

        yield send


@asynccontextmanager
async def asyncio_streams(url: str) -> AsyncIterator[AsyncSend]:
    """The floor: asyncio's streams, a head read to its end, a body by its length."""
    host, _, port = urlsplit(url).netloc.partition(":")
    free = [await asyncio.open_connection(host, int(port)) for _ in range(AT_ONCE)]
    opened = list(free)
    head = f"POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(BODY)}"
    request = head.encode() + b"\r\n\r\n" + BODY

    async def send() -> bytes:
        reader, writer = connection = free.pop()
        writer.write(request)
        got = await reader.readuntil(b"\r\n\r\n")
        length = int(got.lower().partition(b"content-length: ")[2].split()[0])
        body = await reader.readexactly(length)
        free.append(connection)
        return body

    yield send
    for _, writer in opened:
        writer.close()


SYNC: dict[str, Any] = {
    "http.client": standard_library,
    "aiohttp in a thread": aiohttp_in_a_thread,
    "urllib3": urllib3_,
    "requests": requests_,
    "niquests": niquests_,
    "httpcore": httpcore_,
    "httpx": httpx_,
    "pyreqwest": pyreqwest_,
}
ASYNC: dict[str, Any] = {
    "asyncio streams": asyncio_streams,
    "aiohttp": aiohttp_,
    "niquests": async_niquests,
    "httpcore": async_httpcore,
    "httpx": async_httpx,
    "pyreqwest": async_pyreqwest,
}


def report(text: str) -> None:
    print(text)  # noqa: T201


def median_us(seconds: list[float], calls: int) -> float:
    return statistics.median(seconds) / calls * 1e6


def time_sync(url: str) -> None:
    with ExitStack() as stack:
        ready: dict[str, Send] = {}
        for name, open_ in SYNC.items():
            try:
                ready[name] = stack.enter_context(open_(url))
            except ImportError:
                report(f"{name}: not installed")
        wall: dict[str, list[float]] = {name: [] for name in ready}
        cpu: dict[str, list[float]] = {name: [] for name in ready}
        for _ in range(ROUNDS):
            for name, send in ready.items():
                assert b'"ok"' in send()
                started = perf_counter()
                started_cpu = process_time()
                for _ in range(CALLS):
                    send()
                wall[name].append(perf_counter() - started)
                cpu[name].append(process_time() - started_cpu)
    for name in ready:
        report(
            f"sync  {name:20}{median_us(wall[name], CALLS):7.0f} us wall"
            f"{median_us(cpu[name], CALLS):7.0f} us CPU"
        )


async def time_async(url: str) -> None:
    async with AsyncExitStack() as stack:
        ready: dict[str, AsyncSend] = {}
        for name, open_ in ASYNC.items():
            try:
                ready[name] = await stack.enter_async_context(open_(url))
            except ImportError:
                report(f"{name}: not installed")
        wall: dict[str, list[float]] = {name: [] for name in ready}
        cpu: dict[str, list[float]] = {name: [] for name in ready}

        async def repeat(send: AsyncSend, n: int) -> None:
            for _ in range(n):
                await send()

        for _ in range(ROUNDS):
            for name, send in ready.items():
                assert b'"ok"' in await send()
                started = perf_counter()
                await repeat(send, CALLS)
                wall[name].append(perf_counter() - started)
                started_cpu = process_time()
                each = CALLS // AT_ONCE
                await asyncio.gather(*(repeat(send, each) for _ in range(AT_ONCE)))
                cpu[name].append((process_time() - started_cpu) * CALLS / each / 16)
    for name in ready:
        report(
            f"async {name:20}{median_us(wall[name], CALLS):7.0f} us wall"
            f"{median_us(cpu[name], CALLS):7.0f} us CPU at {AT_ONCE}"
        )


if __name__ == "__main__":
    time_sync(sys.argv[1])
    asyncio.run(time_async(sys.argv[1]))
