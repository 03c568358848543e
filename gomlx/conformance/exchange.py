"""One HTTP request and its reply; the curl line that repeats it."""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from gomlx.errors import GomlxError

_HITS = re.compile(r"rows=(\d+),hits=(\d+)")  # of a batch, as gomlx says it


class Unreachable(GomlxError):
    """The server did not reply: no connection, a broken one, or a timeout."""


@dataclass(frozen=True)
class HttpRequest:
    """A request; its path begins with a slash."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def curl(self, url: str) -> str:
        """Return a command line that sends it."""
        words = ["curl", "-s", url.rstrip("/") + self.path]
        for name, value in self.headers.items():
            words += ["-H", f"{name}: {value}"]
        if self.method != ("POST" if self.body else "GET"):
            words += ["-X", self.method]
        if self.body:
            words += ["-d", self.body.decode()]
        return shlex.join(words)


@dataclass(frozen=True)
class HttpReply:
    """A reply; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def rows_run(self, rows: int) -> int | None:
        """Return how many rows of a request were run, by its Cache-Status (RFC 9211).

        None if there is none.
        """
        status = self.headers.get("cache-status", "")
        if found := _HITS.search(status):
            return int(found[1]) - int(found[2])
        if not status:
            return None
        is_run = "fwd=" in status and "collapsed" not in status
        return rows if is_run else 0


def send(url: str, request: HttpRequest, timeout_seconds: float) -> HttpReply:
    """Send a request on a connection of its own. Raises Unreachable."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=timeout_seconds)
    # As curl: no coding is accepted unless the request says so.
    headers = {"Content-Type": "application/json", **request.headers}
    try:
        connection.putrequest(
            request.method, parts.path.rstrip("/") + request.path, False, True
        )
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
        reply = connection.getresponse()
        named = {name.lower(): value for name, value in reply.getheaders()}
        return HttpReply(reply.status, named, reply.read())
    except (OSError, HTTPException) as error:
        raise Unreachable(f"{url}{request.path}: {error!r}") from None
    finally:
        connection.close()
