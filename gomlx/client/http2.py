"""HTTP/2 with httpcore: by ALPN over TLS, with prior knowledge without."""

import gzip
import ssl

import httpcore

from gomlx.client.http import tls_context
from gomlx.client.options import Options
from gomlx.client.transport import Request, Response
from gomlx.errors import BadResponse, ConnectionFailed

_CONNECTIONS = 2  # to each host; each carries many requests


class Http2Transport:
    """A Transport. For one event loop; connects when it is first used."""

    def __init__(self, options: Options) -> None:
        context: ssl.SSLContext = tls_context(options)
        context.set_alpn_protocols(["h2"])
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            http1=False,
            http2=True,
            max_connections=None,
            max_keepalive_connections=_CONNECTIONS,
            keepalive_expiry=options.idle_seconds,
        )

    async def send(self, request: Request) -> Response:
        """See Transport."""
        try:
            answer = await self._pool.request(
                "GET" if request.body is None else "POST",
                request.url,
                headers=list(request.headers.items()),
                content=request.body,
            )
        except httpcore.ProtocolError as error:
            raise BadResponse(f"{request.url}: {error!r}") from None
        except (httpcore.NetworkError, OSError) as error:
            raise ConnectionFailed(f"{request.url}: {error!r}") from None
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in answer.headers}
        body = answer.content
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        return Response(answer.status, headers, body)

    async def close(self) -> None:
        """See Transport."""
        await self._pool.aclose()
