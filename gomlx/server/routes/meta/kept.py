"""Documents that take long to make: made in a thread, once a version, and kept."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import falcon.asgi

from gomlx.server.routes.response import MIN_GZIP_BYTES, accepts_gzip, send_json


class KeptDocument(NamedTuple):
    """A document as it is sent; zipped: gzipped, or empty where that does not pay."""

    tag: str
    body: bytes
    zipped: bytes


@dataclass(frozen=True)
class _Made:
    """A document that is being made, or has been."""

    tag: str
    document: asyncio.Task[KeptDocument]


class KeptDocuments:
    """One document of each model. For the event loop.

    A vocabulary may hold a million strings, so that a document takes a second of CPU:
    one is made at a time, and each once, however many clients ask for it.
    """

    def __init__(self) -> None:
        self._made: dict[str, _Made] = {}
        self._turn = asyncio.Lock()

    async def get(self, name: str, tag: str, make: Callable[[], bytes]) -> KeptDocument:
        """Return a model's document, which make makes in a thread unless it is kept.

        tag: changes whenever the document does.
        """
        made = self._made.get(name)
        if made is None or made.tag != tag:
            task = asyncio.create_task(self._make(tag, make))
            made = self._made[name] = _Made(tag, task)
        return await asyncio.shield(made.document)

    async def _make(self, tag: str, make: Callable[[], bytes]) -> KeptDocument:
        async with self._turn:
            return await asyncio.to_thread(_document, tag, make)


class KeptRoute:
    """A route that answers GET with a document of a model."""

    def __init__(self, get: Callable[[str], Awaitable[KeptDocument]]) -> None:
        self._get = get

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response, name: str
    ) -> None:
        send_kept(request, response, await self._get(name))


def send_kept(
    request: falcon.asgi.Request,
    response: falcon.asgi.Response,
    document: KeptDocument,
) -> None:
    """Send a document, gzipped if the client accepts that."""
    response.set_header("Vary", "Accept-Encoding")
    if document.zipped and accepts_gzip(request):
        response.set_header("Content-Encoding", "gzip")
        send_json(response, document.zipped)
    else:
        send_json(response, document.body)


def _document(tag: str, make: Callable[[], bytes]) -> KeptDocument:
    body = make()
    zipped = b""
    if len(body) > MIN_GZIP_BYTES:
        zipped = gzip.compress(body, 1, mtime=0)
    return KeptDocument(tag, body, zipped)
