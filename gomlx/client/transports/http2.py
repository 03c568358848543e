"""HTTP/2 over connections that are kept: by ALPN with TLS, else by prior knowledge.

    send ─► the connection of the host, or a new one ─► Http2Connection.request
              ▲                                              │
              └───── not begun with: at once, elsewhere ◄────┘

A host has one connection at a time, which carries all its requests.
"""

import asyncio
import socket
import ssl
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import urlsplit

from aiohappyeyeballs import start_connection

from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.client.transports.coding import decoded
from gomlx.client.transports.generations import Generations
from gomlx.client.transports.http import tls_context
from gomlx.client.transports.http2_connection import Http2Connection
from gomlx.client.transports.http2_stream import Refused
from gomlx.errors import ConnectionFailed

_TRIES = 3
_TICK_SECONDS = 0.5
_SECOND_ADDRESS_SECONDS = 0.25  # when a host's first address does not answer


class _Place(NamedTuple):
    """Where a request goes. authority and target: as HTTP/2 names them."""

    origin: str
    host: str
    port: int
    is_secure: bool
    authority: bytes
    target: bytes


class Http2Transport:
    """A Transport over ngh2. For one event loop; connects when it is first used."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._tls = tls_context(options)
        self._tls.set_alpn_protocols(["h2"])
        self._pools = Generations(
            self._new_pool, _Pool.close, options.connection_seconds
        )

    async def send(self, request: Request) -> Response:
        """See Transport."""
        place = _place(request.url)
        body = request.body
        fields = [
            (b":method", b"GET" if body is None else b"POST"),
            (b":scheme", b"https" if place.is_secure else b"http"),
            (b":authority", place.authority),
            (b":path", place.target),
            (b"user-agent", b"gomlx"),
        ]
        for name, value in request.headers.items():
            fields.append((name.lower().encode(), value.encode()))
        if body is not None:
            fields.append((b"content-length", b"%d" % len(body)))
        async with self._pools.pool() as pool:
            return decoded(await pool.request(place, fields, body))

    async def close(self) -> None:
        """See Transport."""
        await self._pools.close()

    def _new_pool(self) -> "_Pool":
        return _Pool(self._tls, self._options.idle_seconds)


class _Pool:
    """The connections to all hosts: the current ones, and those that are ending."""

    def __init__(self, tls: ssl.SSLContext, idle_seconds: float) -> None:
        self._tls = tls
        self._idle_seconds = idle_seconds
        self._loop = asyncio.get_running_loop()
        self._current: dict[str, Http2Connection] = {}
        self._open: dict[Http2Connection, asyncio.Task[None]] = {}
        self._ticking: asyncio.TimerHandle | None = None

    async def request(
        self, place: _Place, fields: list[tuple[bytes, bytes]], body: bytes | None
    ) -> Response:
        """Return a host's response. Raises ConnectionFailed or BadResponse."""
        refusal = ""
        for _ in range(_TRIES):
            connection = self._current.get(place.origin)
            if connection is None or not connection.is_usable:
                connection = self._connect(place)
            try:
                return await connection.request(fields, body)
            except Refused as error:
                refusal = str(error)
        raise ConnectionFailed(f"the host refuses the request: {refusal}")

    async def close(self) -> None:
        """Close all connections."""
        if self._ticking is not None:
            self._ticking.cancel()
        for connecting in self._open.values():
            connecting.cancel()
        await asyncio.gather(*(connection.close() for connection in self._open))

    def _connect(self, place: _Place) -> Http2Connection:
        """Return a connection that is being made."""
        connection = Http2Connection(self._loop)
        self._current[place.origin] = connection
        connecting = self._loop.create_task(self._connected(connection, place))
        self._open[connection] = connecting
        if self._ticking is None:
            self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)
        return connection

    async def _connected(self, connection: Http2Connection, place: _Place) -> None:
        try:
            infos = await self._loop.getaddrinfo(
                place.host, place.port, type=socket.SOCK_STREAM
            )
            made = await start_connection(
                infos, happy_eyeballs_delay=_SECOND_ADDRESS_SECONDS
            )
            await self._loop.create_connection(
                lambda: connection,
                sock=made,
                ssl=self._tls if place.is_secure else None,
                server_hostname=place.host if place.is_secure else None,
            )
        except (OSError, ValueError) as error:
            connection.fail(ConnectionFailed, str(error) or repr(error))

    def _tick(self) -> None:
        """Look after all connections, for as long as there are any."""
        now = self._loop.time()
        for connection in list(self._open):
            connection.check(now, self._idle_seconds)
            if connection.over.is_set():
                self._open.pop(connection).cancel()
        if self._open:
            self._ticking = self._loop.call_later(_TICK_SECONDS, self._tick)
        else:
            self._ticking = None


@lru_cache(256)  # PERF: each host has one URL or two
def _place(url: str) -> _Place:
    parts = urlsplit(url)
    is_secure = parts.scheme == "https"
    authority = parts.netloc.rpartition("@")[2]
    port = parts.port or (443 if is_secure else 80)
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    origin = f"{parts.scheme}://{authority}"
    return _Place(
        origin,
        parts.hostname or "",
        port,
        is_secure,
        authority.encode(),
        target.encode(),
    )
