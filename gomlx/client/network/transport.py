"""How requests get to a host: the protocol, and a transport for tests of others."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import orjson

from gomlx.contract.canonical import Exact
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import GomlxError


class Request(NamedTuple):
    """A request to one host; body is None for a GET."""

    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


class Response(NamedTuple):
    """What a host said: headers by their names in lower case; the body not zipped."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends requests, on the event loop of its client. It keeps connections itself."""

    async def send(self, request: Request) -> Response:
        """Return the whole response, whatever its status.

        Whoever calls it sees to the time, and cancels what takes too long. Raises
        ConnectionFailed, and BadResponse for what is no HTTP.
        """

    async def close(self) -> None:
        """Let go of all connections; nothing may be called afterwards."""


class FakeTransport:
    """A service that is a function, for tests of programs that use a client.

        transport = FakeTransport(lambda row: {"late": 0.2}, {"carrier": "string"})
        client = Client("flights", "http://fake", transport=transport)

    answer maps a row, {input: value}, to its outputs; what it raises of gomlx.errors
    the client raises. inputs: name → dtype, as TensorFlow calls it. requests holds all
    that was sent; rows those that the function was asked.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Mapping[str, Any]],
        inputs: Mapping[str, str],
        version: str = "0" * 32,
    ) -> None:
        self.answer, self.inputs, self.version = answer, dict(inputs), version
        self.requests: list[Request] = []
        self.rows: list[dict[str, Any]] = []
        self.is_closed = False

    async def send(self, request: Request) -> Response:
        """Answer from the function."""
        await asyncio.sleep(0)
        self.requests.append(request)
        headers = {"gomlx-version": self.version, "etag": f'"{self.version}"'}
        if request.body is None:
            known = request.headers.get("If-None-Match", "")
            if known.startswith(f'"{self.version}'):  # with settings behind it, or not
                return Response(304, headers, b"")
            return Response(200, headers, self._contract(request.url))
        try:
            data = self._data(orjson.loads(request.body))
        except GomlxError as error:
            text = {"status": "error", "error": str(error)}
            return Response(error.status, {}, orjson.dumps(text))
        return Response(200, headers, orjson.dumps({"status": "ok", "data": data}))

    async def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True

    def _data(self, asked: dict[str, Any]) -> Any:
        size = asked.pop("batch_size", None)
        if size is None:
            return self._one(asked)
        return [
            self._one({k: v[i] if len(v) > 1 else v[0] for k, v in asked.items()})
            for i in range(size)
        ]

    def _one(self, row: dict[str, Any]) -> dict[str, Any]:
        self.rows.append(row)
        return dict(self.answer(row))

    def _contract(self, url: str) -> bytes:
        names = sorted(self.inputs)
        tensors = tuple(Tensor(name, self.inputs[name], (1,)) for name in names)
        kinds = tuple(Exact(tensor.dtype, "") for tensor in tensors)
        model = url.partition("/model/")[2].partition("/")[0]
        # Whatever the function returns is an answer: as if a transformer made it.
        return Contract(
            model,
            self.version,
            Signature(tensors, ()),
            kinds,
            True,
            3600.0,
            4096,
            1 << 20,
        ).dump()
