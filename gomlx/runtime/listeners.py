"""The sockets on which a service accepts connections: bound before there are workers.

    bound ─► a worker listens, once it has loaded its models ─► listening ─► shut down

A socket that is only bound holds its port, and refuses connections. Its backlog then
holds connections while workers are replaced.
"""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gomlx.errors import GomlxError

BACKLOG = 2048
_LOOK_SECONDS = 0.05


@dataclass(frozen=True)
class BoundSocket:
    """One socket, and what is due when it listens, and when it does no more.

    is_lent: it goes on without this service, as that of a process manager does.
    """

    socket: socket.socket
    is_lent: bool = False
    on_listening: Callable[[], None] = lambda: None
    on_end: Callable[[], None] = lambda: None

    @property
    def is_listening(self) -> bool:
        """Whether connections are taken."""
        return bool(self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

    def shut_down(self) -> None:
        """Refuse connections from now on.

        For all processes that have the socket: closed in workers alone, it would hold
        connections that no process accepts any more.
        """
        if not self.is_lent:
            with suppress(OSError):  # it has never listened
                self.socket.shutdown(socket.SHUT_RDWR)
            self.on_end()


class Listeners:
    """The sockets of one service, which its supervisor has, and its workers inherit.

    urls: theirs, as clients on this host reach them.
    """

    def __init__(self, listeners: Sequence[BoundSocket], is_tls: bool = False) -> None:
        self.urls = [url_of(one.socket, is_tls) for one in listeners]
        self._listeners = listeners

    @property
    def descriptors(self) -> list[int]:
        """The sockets' file descriptors."""
        return [one.socket.fileno() for one in self._listeners]

    @property
    def are_listening(self) -> bool:
        """Whether all of them take connections."""
        return all(one.is_listening for one in self._listeners)

    async def listening(self) -> None:
        """Wait until they take connections, and do what is due then."""
        while not self.are_listening:  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(_LOOK_SECONDS)
        for one in self._listeners:
            one.on_listening()

    def shut_down(self) -> None:
        """Refuse connections from now on."""
        for one in self._listeners:
            one.shut_down()

    def close(self) -> None:
        """Shut down, and close them in this process."""
        self.shut_down()
        for one in self._listeners:
            one.socket.close()


def bound_to_port(host: str, port: int) -> BoundSocket:
    """Return a socket of a port. Raises GomlxError if that cannot be bound."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        try:
            bound.bind((host, port))
        except OSError:  # maybe of connections that have ended just now
            allow_reuse(bound)
            bound.bind((host, port))
    except OSError as error:
        bound.close()
        where = f"{host}:{port}"
        raise GomlxError(f"cannot listen on {where}: {error.strerror}") from None
    return BoundSocket(bound)


def allow_reuse(bound: socket.socket) -> None:
    """Have the port of a socket free as soon as nobody listens on it any more.

    Call it right before listening: two services could bind a port with it.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def url_of(listener: socket.socket, is_tls: bool = False) -> str:
    """Return the URL of a socket of a port, as clients on this host reach it."""
    host, port, *_ = listener.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
