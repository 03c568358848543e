"""What TLS connections are made with: the newest certificate that is sound.

Nothing of a context is ever changed: new files make a new one, and the connections that
are made from then on are its own, with its keys, authorities and session tickets. (The
same context with other files would go on trusting authorities that were taken away, and
resuming sessions that they had vouched for.)
"""

import asyncio
import logging
import os
import ssl
import time
from typing import Any

from gomlx.config.schema import Tls
from gomlx.config.tls import as_date, load_tls
from gomlx.errors import ConfigInvalid

log = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5  # between looks at the files
_HANDSHAKE_SECONDS = 10.0
# A pooled connection that nobody reads does not say good-bye: a stop waits so long.
_SHUTDOWN_SECONDS = 5.0

_Stamp = tuple[tuple[int, ...] | None, ...]


class Certificates:
    """The files of the config, as they were when they last were sound.

    Made before the fork: a worker that starts while the files are unsound has those of
    the service's start. Raises ConfigInvalid.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._tried = self._seen = self._stamp()
        self._loaded = load_tls(tls)
        self._context = _Newest(self._loaded.context)
        self._failure = ""  # to load the files as they are now

    @property
    def expires(self) -> float:
        """When the certificate in use does: a Unix time."""
        return self._loaded.expires

    @property
    def problem(self) -> str | None:
        """What has to be mended; None: nothing."""
        return self._failure or self._loaded.warning(time.time())

    @property
    def options(self) -> dict[str, Any]:
        """The options of an asyncio server that go with TLS."""
        return {
            "ssl": self._context,
            "ssl_handshake_timeout": _HANDSHAKE_SECONDS,
            "ssl_shutdown_timeout": _SHUTDOWN_SECONDS,
        }

    def detail(self) -> dict[str, Any]:
        """Return what /readyz tells."""
        problem = {"problem": self.problem} if self.problem else {}
        return {"certificate_expires": as_date(self.expires)} | problem

    async def follow(self, seconds: float = _LOOK_SECONDS) -> None:
        """Load the files whenever they have changed, and rest; look so often."""
        self._catch_up(self._stamp())  # it may be long since the fork
        while True:
            await asyncio.sleep(seconds)
            # A file may be on a network, and a key's password is slow to check.
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        """Wait for two looks that are equal: a pair takes two files to replace."""
        stamp = self._stamp()
        rests, self._seen = stamp == self._seen, stamp
        if rests:
            self._catch_up(stamp)

    def _catch_up(self, stamp: _Stamp) -> None:
        if stamp == self._tried:
            return
        self._tried = stamp
        try:
            self._loaded = load_tls(self._tls)
        except (ConfigInvalid, OSError) as error:  # OSError: removed a moment ago
            self._failure = str(error)
            log.error("the certificate in use stays: %s", error)
            return
        self._context.newest, self._failure = self._loaded.context, ""
        until = as_date(self.expires)
        log.info("new connections get the new certificate, valid until %s", until)
        if self.problem:
            log.warning("%s", self.problem)

    def _stamp(self) -> _Stamp:
        """What differs when a file was replaced or rewritten; None: it is not there."""
        tls = self._tls
        paths = (tls.certificate, tls.key, tls.client_ca)
        return tuple(_stamp(path) for path in paths if path)


class _Newest(ssl.SSLContext):
    """Stands for another context, the newest: each connection is made by that one."""

    newest: ssl.SSLContext

    def __new__(cls, newest: ssl.SSLContext) -> "_Newest":
        made = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        made.newest = newest
        return made

    def wrap_bio(self, incoming: Any, outgoing: Any, *rest: Any, **named: Any) -> Any:
        self.newest.sslobject_class = _Handshake
        made = self.newest.wrap_bio(incoming, outgoing, *rest, **named)
        made.outgoing = outgoing  # type: ignore[attr-defined]  # a _Handshake's
        return made


class _Handshake(ssl.SSLObject):
    """A connection that tells its peer why it is refused.

    uvloop closes a connection whose handshake fails without sending OpenSSL's alert. So
    one with something to say does not fail before it has been asked again, when the
    peer has closed it, or after the time for handshakes.
    """

    outgoing: ssl.MemoryBIO
    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure:
            raise self._failure
        try:
            super().do_handshake()
        except ssl.SSLWantReadError:
            raise
        except ssl.SSLError as error:
            log.debug("a connection is refused: %s", error)
            if not self.outgoing.pending:
                raise
            self._failure = error.with_traceback(None)  # which refers to this object
            raise ssl.SSLWantReadError from None


def _stamp(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    # ctime, too: a file that may be read at last has the same content.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
