"""HTTP/1.1 over kept connections, with aiohttp."""

import random
import ssl
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp

from gomlx.client.options import Options
from gomlx.client.transport import Request, Response
from gomlx.errors import BadResponse, ConnectionFailed


class HttpTransport:
    """A Transport. For one event loop; connects when it is first used.

    Connections come in generations: after connection_seconds, give or take a tenth, new
    requests use new ones, and the old are closed when they owe no answer.
    """

    def __init__(
        self, options: Options, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._options, self._clock = options, clock
        self._tls = tls_context(options)
        self._generation: _Generation | None = None
        self._is_closed = False

    async def send(self, request: Request) -> Response:
        """See Transport."""
        method = "GET" if request.body is None else "POST"
        try:
            async with (
                self._session() as session,
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
            raise BadResponse(f"{request.url}: {_said(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionFailed(f"{request.url}: {_said(error)}") from None

    async def close(self) -> None:
        """See Transport."""
        self._is_closed = True
        generation, self._generation = self._generation, None
        if generation:
            await generation.session.close()

    @asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        if self._is_closed:  # a retry of what closing has broken
            raise ConnectionFailed("the client is closed")
        generation = self._generation
        if generation is None or generation.until < self._clock():
            old, generation = generation, _Generation(self._opened(), self._until())
            self._generation = generation
            if old and not old.requests:
                await old.session.close()
        generation.requests += 1
        try:
            yield generation.session
        finally:
            generation.requests -= 1
            if generation is not self._generation and not generation.requests:
                await generation.session.close()

    def _until(self) -> float:
        # Not all of a fleet at the same moment.
        return self._clock() + self._options.connection_seconds * random.uniform(0.9, 1)

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


class _Generation:
    """Connections that were opened in the same span of time."""

    def __init__(self, session: aiohttp.ClientSession, until: float) -> None:
        self.session, self.until = session, until
        self.requests = 0  # under way


def tls_context(options: Options) -> ssl.SSLContext:
    """Return how TLS connections are to be made. Raises OSError for missing files."""
    context = ssl.create_default_context(cafile=options.ca_file)
    if options.cert_file:
        context.load_cert_chain(options.cert_file, options.key_file)
    return context


def _said(error: Exception) -> str:
    return str(error) or type(error).__name__
