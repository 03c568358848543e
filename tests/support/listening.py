"""Servers that a test implements, of which nothing remains when it ends."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

_TURNS = 10  # of the loop: within these a connection begins to be served, or is closed
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(
    serve: Serve,
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    where: str = "127.0.0.1",
) -> AsyncIterator[int]:
    """Listen, serve each connection, and yield the port.

    At the end connections are closed and their tasks are cancelled: a task that
    outlives its loop would fail the test that runs when it is garbage-collected.
    """
    serving = set[asyncio.Task[None]]()

    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass  # the peer disconnected, or the test ends
        finally:
            serving.remove(task)
            writer.transport.abort()

    server = await asyncio.start_server(connected, where, port, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        while True:
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            if not (ending := list(serving)):
                break
            for task in ending:
                task.cancel()
            await asyncio.gather(*ending)
