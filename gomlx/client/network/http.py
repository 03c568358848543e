"""HTTP/1.1 over kept connections, with aiohttp."""

import ssl

import aiohttp

from gomlx.client.network.generations import Generations
from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.config.masking import masked
from gomlx.errors import BadResponse, ConnectionFailed


class HttpTransport:
    """A Transport. For one event loop; connects when it is first used."""

    def __init__(self, options: Options) -> None:
        self._options, self._tls = options, tls_context(options)
        self._sessions = Generations(
            self._opened, aiohttp.ClientSession.close, options.connection_seconds
        )

    async def send(self, request: Request) -> Response:
        """See Transport."""
        method = "GET" if request.body is None else "POST"
        try:
            async with (
                self._sessions.pool() as session,
                session.request(
                    method,
                    request.url,
                    data=request.body,
                    headers=request.headers,
                    allow_redirects=False,
                ) as answer,
            ):
                body = await answer.read()
                headers = {
                    name.lower(): value for name, value in answer.headers.items()
                }
                return Response(answer.status, headers, body)
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            raise BadResponse(_said(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionFailed(_said(error)) from None

    async def close(self) -> None:
        """See Transport."""
        await self._sessions.close()

    def _opened(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=0,
            limit_per_host=self._options.max_connections,
            keepalive_timeout=self._options.idle_seconds,
            ssl=self._tls,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "gomlx"},
            timeout=aiohttp.ClientTimeout(),
        )


def tls_context(options: Options) -> ssl.SSLContext:
    """Return how TLS connections are to be made. Raises OSError for unusable files."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file:
            context.load_cert_chain(options.cert_file, options.key_file)
    except OSError as error:  # which does not say which
        names = ("ca_file", "cert_file", "key_file")
        told = ", ".join(f"{n} {f!r}" for n in names if (f := getattr(options, n)))
        raise OSError(f"{told}: {error}") from error
    return context


def _said(error: Exception) -> str:
    return masked(str(error)) or type(error).__name__
