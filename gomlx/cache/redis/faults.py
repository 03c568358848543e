"""What went wrong with a Redis, in a word for programs and a few for people."""

import re
import socket
import ssl
from collections.abc import Iterator

from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from gomlx.cache.redis.address import Address

# The first that is found in the chain of causes says most; its text is shown.
_FAULTS: tuple[tuple[str, type[BaseException], str], ...] = (
    ("name", socket.gaierror, ""),
    ("certificate", ssl.SSLCertVerificationError, ""),
    ("client-certificate", ssl.SSLError, "CERTIFICATE_REQUIRED"),
    ("client-certificate", ssl.SSLError, "HANDSHAKE_FAILURE"),
    ("plain", ssl.SSLError, ""),
    ("permission", exceptions.NoPermissionError, ""),
    ("password-needed", exceptions.AuthenticationError, "required"),
    ("password-unasked", exceptions.AuthenticationError, "without any password"),
    ("password", exceptions.AuthenticationError, ""),
    ("read-only", exceptions.ReadOnlyError, ""),
    ("read-only", exceptions.ConnectionError, "now a slave"),
    ("memory", exceptions.OutOfMemoryError, ""),
    ("database", exceptions.ResponseError, "DB index"),
    ("no-sentinel", exceptions.ResponseError, "`SENTINEL`"),
    ("no-sentinel", exceptions.ResponseError, "'SENTINEL'"),
    ("no-cluster", exceptions.ResponseError, "cluster support disabled"),
    ("cluster", exceptions.MovedError, ""),
    ("cluster", exceptions.ResponseError, "MOVED"),
    ("protected", exceptions.RedisError, "protected mode"),
    ("refused", ConnectionRefusedError, ""),
    ("no-socket", FileNotFoundError, ""),
    ("no-access", PermissionError, ""),
    ("refused", OSError, "Connect call failed"),
    ("timeout", exceptions.TimeoutError, ""),
    ("timeout", TimeoutError, ""),
    ("tls", exceptions.InvalidResponse, ""),
)


def explained(error: Exception, address: Address) -> tuple[str, str]:
    """Return the kind of a failure, and what is known of it in a few words."""
    chain = [*_causes(error)]
    for fault, kind, words in _FAULTS:
        for cause in chain:
            if isinstance(cause, kind) and words in str(cause):
                return fault, _said(cause)
    said = str(error)
    if isinstance(error, MasterNotFoundError):
        return _without_master(said, address)
    closed = "closed the connection", "closed by server", "reset by peer"
    if any(words in said for words in closed):
        # An alert that follows the handshake (TLS 1.3) gets lost in asyncio's streams.
        fault = "client-certificate" if address.tls else "closed"
        return fault, "the server closed the connection"
    return "other", _said(error)


def _without_master(said: str, address: Address) -> tuple[str, str]:
    """Explain redis-py's text: it names a kind of error for each Sentinel asked."""
    kinds = re.findall(r"> - [\w:]*?(\w+Error)\b", said)
    if len(kinds) < len(address.hosts):  # one has answered
        return "no-master", f"no Sentinel knows a healthy master {address.master!r}"
    if "AuthenticationError" in kinds:
        return "sentinel-password", "the Sentinel refuses the login"
    if "TimeoutError" in kinds:
        return "timeout", "no Sentinel answers in time"
    return "unreachable", "no Sentinel can be reached"


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__


def _said(error: BaseException) -> str:
    unsaid = "no answer in time" if isinstance(error, TimeoutError) else ""
    return str(error) or unsaid or type(error).__name__
