"""The connections of an open loop: one open request on each, watched by epoll."""

import re
import select
import socket
import ssl
from collections.abc import Iterator
from time import monotonic
from urllib.parse import urlsplit

from loadtests.load.traffic import Request

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_CHUNK = 1 << 18
_NOTHING = Request(0, b"")
_AGAIN_SECONDS = 0.05  # between attempts to replace connections that are refused

Address = tuple[str | None, int | None]


class Connection:
    """A connection to a service, and the last request that was sent on it."""

    __slots__ = ("_received", "_socket", "due", "port", "request")

    def __init__(self, address: Address, tls: ssl.SSLContext | None) -> None:
        self._socket = socket.create_connection(address, timeout=5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.port: int = self._socket.getsockname()[1]
        if tls:
            self._socket = tls.wrap_socket(self._socket, server_hostname=address[0])
        self._socket.setblocking(False)
        self._received = b""
        self.due = 0.0
        self.request = _NOTHING

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return self._socket.fileno()

    def send(self, due: float, request: Request) -> None:
        """Send a request. Raises OSError when the connection is lost."""
        self.due = due
        self.request = request
        self._socket.sendall(request.data)

    def receive(self) -> bytes | None:
        """Return the response once all of it has come, else None.

        Raises OSError when the connection is lost, ValueError for a response without a
        length.
        """
        try:
            part = self._read()
        except (BlockingIOError, ssl.SSLWantReadError):
            return None
        if not part:
            raise ConnectionResetError("closed by the service")
        data = self._received + part
        self._received = b"" if _is_whole(data) else data
        return None if self._received else data

    def _read(self) -> bytes:
        part = self._socket.recv(_CHUNK)
        while isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            part += self._socket.recv(_CHUNK)  # epoll does not see what is decrypted
        return part

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _is_whole(data: bytes) -> bool:
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:
        return False
    length = _LENGTH.search(data, 0, end)
    if length is None:
        raise ValueError(f"a response without a length: {data[:200]!r}")
    return len(data) >= end + int(length[1])


class Connections:
    """A fixed number of connections; lost ones are replaced, once that is possible.

    tls: the context of an https URL.
    """

    def __init__(self, url: str, count: int, tls: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        self._address: Address = (parts.hostname, parts.port)
        self._tls = tls
        self._missing = 0  # connections that were lost, and refused since
        self._next_attempt = 0.0
        self._epoll = select.epoll()
        self._by_fd: dict[int, Connection] = {}
        self._free = [self._connect() for _ in range(count)]

    def acquire(self) -> Connection | None:
        """Return a connection without an open request, if there is one."""
        if self._missing and not self._free:
            self._replace_missing()
        return self._free.pop() if self._free else None

    def release(self, connection: Connection) -> None:
        """Free a connection: its request has ended."""
        self._free.append(connection)

    def replace(self, lost: Connection) -> bool:
        """Connect anew in place of a lost connection; return whether it was free.

        While the service refuses, this is tried again when a connection is needed.
        """
        was_free = lost in self._free
        if was_free:
            self._free.remove(lost)
        del self._by_fd[lost.fileno()]
        lost.close()
        self._missing += 1
        self._replace_missing()
        return was_free

    def _replace_missing(self) -> None:
        if monotonic() < self._next_attempt:
            return
        try:
            while self._missing:
                self._free.append(self._connect())
                self._missing -= 1
        except OSError:
            self._next_attempt = monotonic() + _AGAIN_SECONDS

    def poll(self, seconds: float) -> Iterator[Connection]:
        """Wait for at most so long; yield the connections that can be read."""
        for fd, _ in self._epoll.poll(seconds):
            if connection := self._by_fd.get(fd):  # not replaced meanwhile
                yield connection

    def close(self) -> None:
        """Close all connections."""
        for connection in self._by_fd.values():
            connection.close()

    def _connect(self) -> Connection:
        connection = Connection(self._address, self._tls)
        self._by_fd[connection.fileno()] = connection
        self._epoll.register(connection, select.EPOLLIN)
        return connection
