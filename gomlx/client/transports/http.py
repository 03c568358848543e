"""HTTP/1.1 over connections that are kept, with aiohttp."""

import ssl

import aiohttp

from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.client.transports.generations import Generations
from gomlx.errors import BadResponse, ConnectionFailed
from gomlx.runtime.masking import masked


class HttpTransport:
    """A Transport over aiohttp. For one event loop; connects when it is first used."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tls = tls_context(options)
        self._sessions = Generations(
            self._new_session, aiohttp.ClientSession.close, options.connection_seconds
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
                ) as response,
            ):
                body = await response.read()
                headers = {
                    name.lower(): value for name, value in response.headers.items()
                }
                return Response(response.status, headers, body)
        except (aiohttp.ClientResponseError, aiohttp.ClientPayloadError) as error:
            raise BadResponse(_text(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionFailed(_text(error)) from None

    async def close(self) -> None:
        """See Transport."""
        await self._sessions.close()

    def _new_session(self) -> aiohttp.ClientSession:
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
    """Return the settings of TLS connections. Raises OSError for unusable files."""
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
        if options.cert_file:
            context.load_cert_chain(options.cert_file, options.key_file)
    except OSError as error:  # which does not say which file it is
        names = ("ca_file", "cert_file", "key_file")
        files = [f"{n} {f!r}" for n in names if (f := getattr(options, n))]
        raise OSError(f"{', '.join(files)}: {error}") from error
    return context


def _text(error: Exception) -> str:
    return masked(str(error)) or type(error).__name__
