"""Clients over a service that is a function, and sockets that say what a test wants."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

import orjson

from gomlx import AsyncClient
from gomlx.client.network.transport import FakeTransport
from gomlx.client.options import Options
from gomlx.contract.canonical import Exact
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from tests.support.listening import listening

VERSION = "a" * 32
QUIET = Options(timeout_seconds=30, refresh_seconds=0)


def doubling(version: str = VERSION) -> FakeTransport:
    """y = 2 x; word is for the key alone."""
    inputs = {"word": "string", "x": "float32"}
    return FakeTransport(lambda row: {"y": row["x"] * 2}, inputs, version)


def contract(version: str = VERSION, **changes: Any) -> Contract:
    """Of a model with one number, x, and one output, y."""
    x, y = (Tensor(name, "float32", (1,)) for name in "xy")
    values = {"transforms": False, "ttl_seconds": 60.0, "max_rows": 100}
    values |= {"max_body_bytes": 1 << 20}
    kinds = (Exact("float32", ""),)
    signature = Signature((x,), (y,))
    return Contract("m", version, signature, kinds, **values | changes)


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """A response of HTTP/1.1."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    named |= {"Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def answered(data: Any, version: str = VERSION, **headers: str) -> bytes:
    """The response of a service that works."""
    body = orjson.dumps({"status": "ok", "dictHash": 1, "data": data})
    return http(body, gomlx_version=version, **headers)


def doubled(body: bytes) -> Any:
    """What the model of `contract` answers."""
    asked = orjson.loads(body)
    if "batch_size" not in asked:
        return {"y": asked["x"] * 2.0}
    return [{"y": x * 2.0} for x in asked["x"]]


Say = Callable[[bytes, asyncio.StreamWriter], Awaitable[bytes | None]]


class Host:
    """A server of bytes: say makes the response to a body; None: hang up.

    The contract is served as it should be, unless raw_contract is set.
    """

    def __init__(self, say: Say) -> None:
        self.say, self.bodies = say, list[bytes]()
        self.contract, self.raw_contract = contract(), b""
        self.heads: list[str] = []
        self.connections = 0

    @asynccontextmanager
    async def running(
        self, tls: ssl.SSLContext | None = None, port: int = 0, where: str = "127.0.0.1"
    ) -> AsyncIterator["Host"]:
        async with listening(self._serve, port, tls, where) as taken:
            scheme = "https" if tls else "http"
            self.url = f"{scheme}://127.0.0.1:{taken}"
            yield self

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        while await self._one(reader, writer):
            pass

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.heads.append(head)
        if head.startswith("GET"):
            writer.write(self._contract(head))
            return True
        if head.startswith("PRI"):  # HTTP/2, which this host does not speak
            return False
        length = int(head.lower().partition("content-length: ")[2].split()[0])
        body = await reader.readexactly(length)
        self.bodies.append(body)
        said = await self.say(body, writer)
        if said is None:
            return False
        writer.write(said)
        await writer.drain()
        return True

    def _contract(self, head: str) -> bytes:
        tag = f'"{self.contract.tag}"'
        if tag in head:
            return http(b"", "304 Not Modified", ETag=tag)
        body = gzip.compress(self.raw_contract or self.contract.dump())
        return http(body, ETag=tag, Content_Encoding="gzip")


async def works(body: bytes, _: asyncio.StreamWriter) -> bytes:
    """What a host says that works."""
    return answered(doubled(body))


async def hosts(stack: AsyncExitStack, *says: Say) -> list[Host]:
    return [await stack.enter_async_context(Host(say).running()) for say in says]


async def client(
    stack: AsyncExitStack, hosts: list[Host], **options: Any
) -> AsyncClient:
    urls = [host.url for host in hosts]
    made = AsyncClient(
        "m",
        urls,
        contract=options.pop("contract", contract()),
        options=replace(QUIET, **{"timeout_seconds": 30.0} | options),
    )
    return await stack.enter_async_context(made)


def says(response: bytes) -> Say:
    async def say(_: bytes, __: asyncio.StreamWriter) -> bytes:
        return response

    return say
