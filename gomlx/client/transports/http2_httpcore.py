"""HTTP/2 with httpcore, in pure Python, for where ngh2 cannot be imported."""

import httpcore

from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.client.transports.coding import decoded
from gomlx.client.transports.generations import Generations
from gomlx.client.transports.http import tls_context
from gomlx.errors import BadResponse, ConnectionFailed

_KEPT_CONNECTIONS = 2  # to all hosts together; each carries many requests


class HttpcoreTransport:
    """A Transport over httpcore. For one event loop; connects when first used."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tls = tls_context(options)
        self._tls.set_alpn_protocols(["h2"])
        self._pools = Generations(
            self._new_pool,
            httpcore.AsyncConnectionPool.aclose,
            options.connection_seconds,
        )

    async def send(self, request: Request) -> Response:
        """See Transport."""
        try:
            async with self._pools.pool() as pool:
                response = await pool.request(
                    "GET" if request.body is None else "POST",
                    request.url,
                    headers=[("User-Agent", "gomlx"), *request.headers.items()],
                    content=request.body,
                )
        except httpcore.ProtocolError as error:
            raise BadResponse(repr(error)) from None
        except (httpcore.NetworkError, OSError) as error:
            raise ConnectionFailed(repr(error)) from None
        headers = {k.decode().lower(): v.decode("latin-1") for k, v in response.headers}
        return decoded(Response(response.status, headers, response.content))

    async def close(self) -> None:
        """See Transport."""
        await self._pools.close()

    def _new_pool(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls,
            http1=False,
            http2=True,
            max_connections=None,
            max_keepalive_connections=_KEPT_CONNECTIONS,
            keepalive_expiry=self._options.idle_seconds,
        )
