"""How requests get to a host: the protocol, and a transport for users' own tests."""

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
    """A host's response: header names are in lower case, the body is not compressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends requests on the event loop of its client, and keeps its connections."""

    async def send(self, request: Request) -> Response:
        """Return the whole response, whatever its status.

        The caller limits the time, and cancels what takes longer. Raises
        ConnectionFailed, or BadResponse for what is not HTTP.
        """

    async def close(self) -> None:
        """Close all connections; no method may be called afterwards."""


class FakeTransport:
    """A service that is a function, for tests of programs that use a client.

        transport = FakeTransport(lambda row: {"late": 0.2}, {"carrier": "string"})
        client = Client("flights", "http://fake", transport=transport)

    answer maps a row, {input: value}, to its outputs; an error of gomlx.errors that it
    raises, the client raises. inputs: name → dtype, as TensorFlow names it. requests
    holds all that was sent; rows those that the function was called with.
    """

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], Mapping[str, Any]],
        inputs: Mapping[str, str],
        version: str = "0" * 32,
    ) -> None:
        self.answer = answer
        self.inputs = dict(inputs)
        self.version = version
        self.requests: list[Request] = []
        self.rows: list[dict[str, Any]] = []
        self.is_closed = False

    async def send(self, request: Request) -> Response:
        """Respond with the contract, or with what the function returns."""
        await asyncio.sleep(0)
        self.requests.append(request)
        headers = {"gomlx-version": self.version, "etag": f'"{self.version}"'}
        if request.body is None:
            etag = request.headers.get("If-None-Match", "")
            if etag.startswith(f'"{self.version}'):  # a digest of settings may follow
                return Response(304, headers, b"")
            return Response(200, headers, self._contract(request.url))
        try:
            data = self._data(orjson.loads(request.body))
        except GomlxError as error:
            document = {"status": "error", "error": str(error)}
            return Response(error.status, {}, orjson.dumps(document))
        return Response(200, headers, orjson.dumps({"status": "ok", "data": data}))

    async def close(self) -> None:
        """Remember that it was closed."""
        self.is_closed = True

    def _data(self, document: dict[str, Any]) -> Any:
        size = document.pop("batch_size", None)
        if size is None:
            return self._one(document)
        return [
            self._one({k: v[i] if len(v) > 1 else v[0] for k, v in document.items()})
            for i in range(size)
        ]

    def _one(self, row: dict[str, Any]) -> dict[str, Any]:
        self.rows.append(row)
        return dict(self.answer(row))

    def _contract(self, url: str) -> bytes:
        names = sorted(self.inputs)
        tensors = tuple(Tensor(name, self.inputs[name], (1,)) for name in names)
        # Whatever the function returns is an answer, as if a transformer had made it.
        contract = Contract(
            model=url.partition("/model/")[2].partition("/")[0],
            version=self.version,
            signature=Signature(tensors, ()),
            kinds=tuple(Exact(tensor.dtype, "") for tensor in tensors),
            transforms=True,
            ttl_seconds=3600.0,
            max_rows=4096,
            max_body_bytes=1 << 20,
        )
        return contract.dump()
