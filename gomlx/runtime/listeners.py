"""The sockets on which a service accepts connections: bound before there are workers.

    bound ─► a worker listens, once it has loaded its models ─► listening ─► shut down

A socket that is only bound holds its port, and refuses connections. Its backlog then
holds connections while workers are replaced. A service that takes over from another
one binds what that one listens on (SO_REUSEPORT, or a unix socket of the same path), or
both have the socket of a process manager.
"""

import asyncio
import ctypes
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from gomlx.errors import GomlxError

BACKLOG = 2048
_LOOK_SECONDS = 0.05
_EMPTYING_SECONDS = 0.5
_QUEUE_SECONDS = 0.001
_FIRST_LENT = 3  # sd_listen_fds(3)
_INFO = struct.Struct("8B5I")  # the first fields of Linux' tcp_info; the last: queued
_ATTACH_REUSEPORT_CBPF = 51  # socket(7), where Python has no name for it
_RETURN = 0x06  # of classic BPF: BPF_RET | BPF_K
_NEWER = 1


@dataclass(frozen=True)
class BoundSocket:
    """One socket, and what is due when it listens, and when it does no more.

    url: as clients on this host reach it. is_lent: it goes on without this service, as
    that of a process manager does.
    """

    socket: socket.socket
    url: str = ""
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
        connections that no process accepts any more. Those that wait to be accepted
        would be reset, so workers are given a moment to do that.
        """
        if not self.is_lent:
            ends = time.monotonic() + _EMPTYING_SECONDS
            with suppress(OSError):  # it has never listened
                while self.is_listening and queued(self.socket):
                    if time.monotonic() > ends:
                        break
                    time.sleep(_QUEUE_SECONDS)
                self.socket.shutdown(socket.SHUT_RDWR)
            self.on_end()


class Listeners:
    """The sockets of one service, which its supervisor has, and its workers inherit.

    urls: theirs, as clients on this host reach them. admin: one more, for admins, on
    which workers listen at once.
    """

    def __init__(
        self,
        listeners: Sequence[BoundSocket],
        is_tls: bool = False,
        admin: BoundSocket | None = None,
    ) -> None:
        self.urls = [one.url or url_of(one.socket, is_tls) for one in listeners]
        self._listeners = listeners
        self._every = [*listeners, admin] if admin else listeners

    @property
    def descriptors(self) -> list[int]:
        """The sockets' file descriptors; that of admins is the last."""
        return [one.socket.fileno() for one in self._every]

    @property
    def are_listening(self) -> bool:
        """Whether all of them take connections, but for the admins'."""
        return all(one.is_listening for one in self._listeners)

    async def listening(self) -> None:
        """Wait until they take connections, and do what is due then."""
        while not self.are_listening:  # noqa: ASYNC110  # another process does it
            await asyncio.sleep(_LOOK_SECONDS)
        for one in self._every:
            one.on_listening()

    def shut_down(self) -> None:
        """Refuse connections from now on."""
        for one in self._every:
            one.shut_down()

    def close(self) -> None:
        """Shut down, and close them in this process."""
        self.shut_down()
        for one in self._every:
            one.socket.close()


def bound_to_port(host: str, port: int, is_shared: bool = False) -> BoundSocket:
    """Return a socket of a port. Raises GomlxError if that cannot be bound.

    is_shared: another service of this user, whose socket is shared, too, may have the
    port. Once this one listens, it gets all new connections.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            bound.bind((host, port))
        except OSError:  # maybe of connections that have ended just now
            allow_reuse(bound)
            bound.bind((host, port))
    except OSError as error:
        bound.close()
        where = f"{host}:{port}"
        raise GomlxError(f"cannot listen on {where}: {error.strerror}") from None
    take_over = partial(_prefer_newer, bound) if is_shared else lambda: None
    return BoundSocket(bound, on_listening=take_over)


def bound_to_path(path: Path, mode: int, is_shared: bool = False) -> BoundSocket:
    """Return a unix socket, which gets its path once it listens.

    mode: of its file: who may connect. is_shared: another service may listen there; its
    socket is replaced. Raises GomlxError.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        if not is_shared:
            _check_free(path)
        temporary.unlink(missing_ok=True)
        bound.bind(str(temporary))
        temporary.chmod(mode)
        made = temporary.stat()
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)
        raise GomlxError(f"cannot listen on {path}: {reason}") from None

    def end() -> None:
        temporary.unlink(missing_ok=True)
        with suppress(OSError):
            if os.path.samestat(path.lstat(), made):  # no other's by now
                path.unlink()

    def appear() -> None:
        temporary.replace(path)

    return BoundSocket(bound, f"unix:{path}", on_listening=appear, on_end=end)


def lent_sockets(environment: MutableMapping[str, str]) -> list[BoundSocket]:
    """Return the sockets that a process manager passes, as systemd does.

    Its variables are removed, since children are passed none. Raises GomlxError for a
    socket that no connection can be accepted from.
    """
    count = environment.pop("LISTEN_FDS", "")
    pid = environment.pop("LISTEN_PID", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    passed = range(_FIRST_LENT, _FIRST_LENT + int(count))
    return [_lent(descriptor) for descriptor in passed]


def _lent(descriptor: int) -> BoundSocket:
    try:
        os.set_inheritable(descriptor, False)
        passed = socket.socket(fileno=descriptor)
        listens = bool(passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError as error:
        reason = f"cannot use file descriptor {descriptor} (LISTEN_FDS): {error}"
        raise GomlxError(reason) from None
    if not listens:
        raise GomlxError(
            f"file descriptor {descriptor} (LISTEN_FDS) does not listen: expected "
            "ListenStream= and Accept=no in the socket's unit"
        )
    name = passed.getsockname()
    is_path = passed.family == socket.AF_UNIX
    return BoundSocket(passed, f"unix:{name}" if is_path else "", is_lent=True)


def _check_free(path: Path) -> None:
    """Raise OSError where a service listens, or where there is no socket."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise OSError("there is a file that is no socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return  # of a service that was killed
    raise OSError("another service listens there (endpoint.reuse_port takes over)")


def _prefer_newer(listening: socket.socket) -> None:
    """Have the newer of two sockets of a port get all new connections.

    The kernel would give each some, and reset those of the older one that are not
    accepted when that is closed. Where it has no such program, it goes on so.
    """
    instruction = struct.pack("HBBI", _RETURN, 0, 0, _NEWER)
    code = ctypes.create_string_buffer(instruction, len(instruction))
    program = struct.pack("HxxxxxxQ", 1, ctypes.addressof(code))
    with suppress(OSError):
        listening.setsockopt(socket.SOL_SOCKET, _ATTACH_REUSEPORT_CBPF, program)


def queued(listening: socket.socket) -> int:
    """Return how many connections of a socket of TCP wait to be accepted."""
    if listening.family == socket.AF_UNIX:
        return 0  # not known
    info = listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
    count: int = _INFO.unpack(info)[-1]
    return count


def allow_reuse(bound: socket.socket) -> None:
    """Have the port of a socket free as soon as no socket listens on it any more.

    Call it right before listening: two services could bind a port with it.
    """
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)


def url_of(listener: socket.socket, is_tls: bool = False) -> str:
    """Return the URL of a socket of a port, as clients on this host reach it."""
    host, port, *_ = listener.getsockname()
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
