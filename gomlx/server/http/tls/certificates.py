"""The certificate of TLS connections: the newest one that is valid.

A context is never changed. New files make a new context, and the connections made from
then on use it alone, with its keys, authorities and session tickets. (The same context
with other files would still trust authorities that were removed, and resume
sessions that they had vouched for.)
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

# What differs when a file was replaced or rewritten; None: there is no file.
_Stamp = tuple[tuple[int, ...] | None, ...]


class Certificates:
    """The files of the config, as they were when they were last valid.

    Made before the fork: a worker that starts while the files are invalid has those
    of the service's start. Raises ConfigInvalid.
    """

    def __init__(self, tls: Tls) -> None:
        self._tls = tls
        self._tried = self._stamp()  # the files that were loaded last, valid or not
        self._seen = self._tried  # the files at the last look
        self._loaded = load_tls(tls)
        self._context = _NewestContext(self._loaded.context)
        self._failure = ""  # why the present files are invalid

    @property
    def expires(self) -> float:
        """When the certificate in use expires: a Unix time."""
        return self._loaded.expires

    @property
    def problem(self) -> str | None:
        """What an operator has to mend; None: nothing."""
        return self._failure or self._loaded.warning(time.time())

    @property
    def context(self) -> ssl.SSLContext:
        """What makes each connection with the certificate in use."""
        return self._context

    def detail(self) -> dict[str, Any]:
        """Return what /readyz shows."""
        problem = {"problem": self.problem} if self.problem else {}
        return {"certificate_expires": as_date(self.expires)} | problem

    async def follow(self, seconds: float = _LOOK_SECONDS) -> None:
        """Load the files whenever they change; seconds: between two looks at them."""
        self._load_if_changed(self._stamp())  # the fork may be long ago
        while True:
            await asyncio.sleep(seconds)
            # A file may be on a network, and a key's password is slow to check.
            await asyncio.to_thread(self._look)

    def _look(self) -> None:
        """Load files that are as they were at the last look.

        A pair is replaced by two writes: the first one alone must not be loaded.
        """
        stamp = self._stamp()
        has_settled = stamp == self._seen
        self._seen = stamp
        if has_settled:
            self._load_if_changed(stamp)

    def _load_if_changed(self, stamp: _Stamp) -> None:
        if stamp == self._tried:
            return
        self._tried = stamp
        try:
            self._loaded = load_tls(self._tls)
        except (ConfigInvalid, OSError) as error:  # OSError: removed a moment ago
            self._failure = str(error)
            log.error("the certificate in use stays: %s", error)
            return
        self._failure = ""
        self._context.renew(self._loaded.context)
        until = as_date(self.expires)
        log.info("new connections get the new certificate, valid until %s", until)
        if self.problem:
            log.warning("%s", self.problem)

    def _stamp(self) -> _Stamp:
        tls = self._tls
        paths = (tls.certificate, tls.key, tls.client_ca)
        return tuple(_stamp(path) for path in paths if path)


class _NewestContext(ssl.SSLContext):
    """A context that has the newest one make each connection."""

    _newest: ssl.SSLContext

    def __new__(cls, newest: ssl.SSLContext) -> "_NewestContext":
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context.renew(newest)
        return context

    def renew(self, newest: ssl.SSLContext) -> None:
        """Make connections by another context from now on."""
        newest.sslobject_class = _Handshake
        self._newest = newest

    def wrap_bio(self, incoming: Any, outgoing: Any, *args: Any, **options: Any) -> Any:
        connection = self._newest.wrap_bio(incoming, outgoing, *args, **options)
        # SSLObject has no constructor that could receive it.
        connection.outgoing = outgoing  # type: ignore[attr-defined]  # a _Handshake's
        return connection


class _Handshake(ssl.SSLObject):
    """A connection whose peer learns why it is refused.

    uvloop closes a connection whose handshake fails without sending OpenSSL's alert. So
    a handshake with an alert to send does not fail at once, but at the next call: when
    the peer has closed the connection, or after the time for handshakes.
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
    # ctime, too: a file that has become readable has the same content.
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
