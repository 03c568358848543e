"""A listening hot protocol that hands connections of HTTP/2 to ours."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from gomlx.server.http.connections import Successors
from gomlx.server.http.http2.protocol import http2_protocols
from tests.server.conftest import Path_, until
from tests.server.http.conftest import Fallback, Server
from tests.server.http.http2.client import AsyncClient


class Application:
    """An ASGI application. /echo sends what it reads, /large 300 kB a part, without
    end, /megabyte one at once; /wait waits for the end of all; /broken fails, /half in
    its response; any other route answers with the request as JSON.

    sent: how many parts of /large were taken. ended: how the calls ended.
    """

    def __init__(self) -> None:
        self.sent = 0
        self.ended: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        try:
            match scope["path"]:
                case "/echo":
                    await send(start)
                    await self._echo(receive, send)
                case "/large":
                    await send(start)
                    await self._large(send)
                case "/megabyte":
                    await send(start)
                    whole = bytes(range(250)) * 4000
                    await send({"type": "http.response.body", "body": whole})
                case "/wait":
                    while (await receive())["type"] != "http.disconnect":
                        pass
                case "/broken":
                    raise RuntimeError("broken")
                case "/half":
                    await send(start)
                    await send(
                        {"type": "http.response.body", "body": b"h", "more_body": True}
                    )
                    raise RuntimeError("half")
                case _:
                    await self._describe(scope, receive, send)
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        self.ended.append("returned")

    async def _echo(self, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            more = message["more_body"]
            await send({**message, "type": "http.response.body"})

    async def _large(self, send: Any) -> None:
        part = {"type": "http.response.body", "body": bytes(300_000), "more_body": True}
        while True:
            await send(part)
            self.sent += 1

    async def _describe(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [[k.decode(), v.decode("latin-1")] for k, v in scope["headers"]]
        found = {
            "method": scope["method"],
            "path": scope["raw_path"].decode("latin-1"),
            "query": scope["query_string"].decode("latin-1"),
            "scheme": scope["scheme"],
            "client": list(scope["client"])[:1],
            "headers": headers,
        }
        body = json.dumps(found).encode()
        await send(
            {
                "type": "http.response.start",
                "status": 207,
                "headers": [(b"Content-Type", b"application/json")],
            }
        )
        await send({"type": "http.response.body", "body": body})


class Site:
    """A listening server, its application, and its clients.

    trusted: whether peers may use HTTP/2 in the clear.
    """

    def __init__(self, path: Path_) -> None:
        self.path = path
        self.application = Application()
        self.trusted = True
        successors = Successors(
            lambda _: Fallback(),
            http2_protocols(self.application),
            lambda peer: self.trusted,
        )
        self.server = Server(path, successors=successors)
        self._clients: list[AsyncClient] = []

    async def client(self, reads: bool = True, settings: Any = None) -> AsyncClient:
        client = AsyncClient(reads)
        self._clients.append(client)
        await client.connect(self.server.port, settings)
        return client

    def count(self, *key: str) -> int:
        return self.path.counts.counter(*key).n

    def is_left(self) -> bool:
        """Whether nobody is connected, after another second."""
        self.server.tick(1)
        return not self.server.connections.open

    def close(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()


@pytest_asyncio.fixture
async def site(path: Path_) -> AsyncIterator[Site]:
    site = Site(path)
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(site.server.accept, "127.0.0.1", 0)
    site.server.port = listening.sockets[0].getsockname()[1]
    yield site
    site.close()
    listening.close()
    await until(site.is_left)
    assert sum(site.server.counted) == 0
