"""Clients of a service that is a function, and hosts that respond as a test wants."""

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
    """A service of y = 2 x; its input `word` is for the key alone."""
    inputs = {"word": "string", "x": "float32"}
    return FakeTransport(lambda row: {"y": row["x"] * 2}, inputs, version)


def contract(version: str = VERSION, **changes: Any) -> Contract:
    """The contract of a model with one number, x, and one output, y."""
    x, y = (Tensor(name, "float32", (1,)) for name in "xy")
    values = {"transforms": False, "ttl_seconds": 60.0, "max_rows": 100}
    values |= {"max_body_bytes": 1 << 20}
    kinds = (Exact("float32", ""),)
    signature = Signature((x,), (y,))
    return Contract("m", version, signature, kinds, **values | changes)


def http(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    """A response in HTTP/1.1."""
    named = {k.replace("_", "-"): v for k, v in headers.items()}
    named |= {"Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


def answered(data: Any, version: str = VERSION, **headers: str) -> bytes:
    """The response of a service that works."""
    body = orjson.dumps({"status": "ok", "dictHash": 1, "data": data})
    return http(body, gomlx_version=version, **headers)


def doubled(body: bytes) -> Any:
    """The answers of the model of `contract` to a request."""
    request = orjson.loads(body)
    if "batch_size" not in request:
        return {"y": request["x"] * 2.0}
    return [{"y": x * 2.0} for x in request["x"]]


Respond = Callable[[bytes, asyncio.StreamWriter], Awaitable[bytes | None]]


class Host:
    """A server of bytes: respond makes the response to a body; None: hang up.

    The contract is served as a service does, unless contract_body or the whole
    contract_response is set; the service's etag is replaced by one that is set.
    """

    def __init__(self, respond: Respond) -> None:
        self.respond = respond
        self.bodies: list[bytes] = []
        self.contract = contract()
        self.contract_body = b""
        self.contract_response = b""
        self.etag = ""
        self.heads: list[str] = []
        self.connections = 0

    @asynccontextmanager
    async def running(
        self, tls: ssl.SSLContext | None = None, port: int = 0, where: str = "127.0.0.1"
    ) -> AsyncIterator["Host"]:
        async with listening(self._serve, port, tls, where) as bound_port:
            scheme = "https" if tls else "http"
            self.url = f"{scheme}://127.0.0.1:{bound_port}"
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
        response = await self.respond(body, writer)
        if response is None:
            return False
        writer.write(response)
        await writer.drain()
        return True

    def _contract(self, head: str) -> bytes:
        if self.contract_response:
            return self.contract_response
        etag = self.etag or f'"{self.contract.tag}"'
        if etag in head:
            return http(b"", "304 Not Modified", ETag=etag)
        body = gzip.compress(self.contract_body or self.contract.dump())
        return http(body, ETag=etag, Content_Encoding="gzip")


async def works(body: bytes, _: asyncio.StreamWriter) -> bytes:
    """Respond as a host that works."""
    return answered(doubled(body))


async def hosts(stack: AsyncExitStack, *responds: Respond) -> list[Host]:
    running = [Host(respond).running() for respond in responds]
    return [await stack.enter_async_context(host) for host in running]


async def connected(
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


def always(response: bytes) -> Respond:
    async def respond(_: bytes, __: asyncio.StreamWriter) -> bytes:
        return response

    return respond
