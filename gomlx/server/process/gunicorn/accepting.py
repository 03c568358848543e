"""Accepts connections: fast, and then those of each address have their turns.

uvloop accepts one connection a turn. Behind some hundreds that wait in the listener's
queue, a new connection would wait for a turn of each. So many are accepted at once,
which takes a few microseconds each, and the rest of what they cost waits for its turn
(server/rounds.py): an address that connects again and again waits for itself.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from functools import partial

from gomlx.runtime.listeners import BACKLOG, queued
from gomlx.runtime.process import most_connections
from gomlx.server.rounds import Rounds

log = logging.getLogger(__name__)

_MOST_AT_ONCE = 128  # a millisecond
_MOST_WAITING = 1024  # more wait in the listener's queue
_SPARE_FILES = 32  # of those that a worker has beside its connections'
_REST_SECONDS = 1.0
# The process, or the system, has no more of something: it may have later.
_FULL = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Accepts the connections of one listener; Gunicorn closes it as it does servers.

    make: the first protocol of each connection. rounds: whose turn it is to be opened.
    most: so many wait for that.
    """

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[], asyncio.Protocol],
        rounds: Rounds,
        most: int = _MOST_WAITING,
    ) -> None:
        """Listen from now on. Made on the event loop."""
        self._listener = listener
        self._make = make
        self._rounds = rounds
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._waiting = 0  # accepted, and not opened
        self._opening: set[asyncio.Task[None]] = set()
        self._is_reading = False
        self._is_closed = False
        self._all_are_open = asyncio.Event()
        listener.setblocking(False)
        listener.listen(BACKLOG)
        self._read()

    def close(self) -> None:
        """Accept no more connections. The socket stays as it is, for other workers."""
        self._is_closed = True
        self._pause()
        self._note()

    async def wait_closed(self) -> None:
        """Wait until it is closed, and every accepted connection is open."""
        await self._all_are_open.wait()

    def _read(self) -> None:
        if not (self._is_reading or self._is_closed):
            self._is_reading = True
            self._loop.add_reader(self._listener, self._accept)

    def _pause(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self._loop.remove_reader(self._listener)

    def _accept(self) -> None:
        """Accept half of those that wait: other workers accept, too."""
        count = min(queued(self._listener) // 2 + 1, _MOST_AT_ONCE)
        for _ in range(min(count, self._most - self._waiting)):
            try:
                accepted, address = self._listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return  # it was another worker's, or has gone
            except OSError as error:
                self._fail(error)
                return
            if _has_left(accepted):
                accepted.close()
                continue
            self._waiting += 1
            host = address[0] if isinstance(address, tuple) else ""
            self._rounds.call(host, partial(self._open, accepted))
        if self._waiting >= self._most:
            self._pause()

    def _fail(self, error: OSError) -> None:
        if error.errno not in _FULL:  # it has been shut down
            self.close()
            return
        log.warning("cannot accept connections: %s", error)
        self._pause()
        self._loop.call_later(_REST_SECONDS, self._read)

    def _open(self, accepted: socket.socket) -> None:
        """Begin an accepted connection, unless its peer has left meanwhile."""
        self._waiting -= 1
        if self._waiting == self._most // 2:
            self._read()
        if _has_left(accepted):
            accepted.close()
            self._note()
            return
        opening = self._loop.create_task(self._connect(accepted))
        self._opening.add(opening)
        opening.add_done_callback(self._opened)

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make, accepted)
        except OSError as error:  # it has gone just now
            log.debug("a connection that ended at once", exc_info=error)
            accepted.close()

    def _opened(self, opening: asyncio.Task[None]) -> None:
        self._opening.discard(opening)
        self._note()

    def _note(self) -> None:
        if self._is_closed and not (self._waiting or self._opening):
            self._all_are_open.set()


def most_waiting(connections: int) -> int:
    """Return how many may be accepted and not open, beside so many that are."""
    spare = most_connections() - connections + _SPARE_FILES
    return max(1, min(spare, _MOST_WAITING))


def _has_left(accepted: socket.socket) -> bool:
    """Whether a peer has ended its connection, and has asked for nothing."""
    try:
        return not accepted.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True  # it has been reset
