"""HTTP/2 with httpcore: by ALPN over TLS, with prior knowledge without."""

import gzip
import zlib

import httpcore

from gomlx.client.network.generations import Generations
from gomlx.client.network.http import tls_context
from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.errors import BadResponse, ConnectionFailed

_CONNECTIONS = 2  # to each host; each carries many requests


class Http2Transport:
    """A Transport. For one event loop; connects when it is first used."""

    def __init__(self, options: Options) -> None:
        self._options, self._tls = options, tls_context(options)
        self._tls.set_alpn_protocols(["h2"])
        self._pools = Generations(
            self._opened,
            httpcore.AsyncConnectionPool.aclose,
            options.connection_seconds,
        )

    async def send(self, request: Request) -> Response:
        """See Transport."""
        try:
            async with self._pools.pool() as pool:
                answer = await pool.request(
                    "GET" if request.body is None else "POST",
                    request.url,
                    headers=[("User-Agent", "gomlx"), *request.headers.items()],
                    content=request.body,
                )
        except httpcore.ProtocolError as error:
            raise BadResponse(repr(error)) from None
        except (httpcore.NetworkError, OSError) as error:
            raise ConnectionFailed(repr(error)) from None
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in answer.headers}
        body = answer.content
        if headers.get("content-encoding") == "gzip":
            body = _unzipped(body)
        return Response(answer.status, headers, body)

    async def close(self) -> None:
        """See Transport."""
        await self._pools.close()

    def _opened(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            http1=False,
            http2=True,
            max_connections=None,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=self._options.idle_seconds,
        )


def _unzipped(body: bytes) -> bytes:
    try:
        return gzip.decompress(body)
    except (OSError, EOFError, zlib.error) as error:
        raise BadResponse(f"not gzip: {error}") from None
