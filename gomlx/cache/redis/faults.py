"""Why a Redis failed: a word for programs, and a few words for people."""

import re
import socket
import ssl
from collections.abc import Iterator

from redis import exceptions
from redis.asyncio.sentinel import MasterNotFoundError

from gomlx.cache.redis.address import Address

# The first that is found in the chain of causes is most specific; its text is shown.
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
_CLOSED = ("closed the connection", "closed by server", "reset by peer")


def explained(error: Exception, address: Address) -> tuple[str, str]:
    """Return the fault, and its reason in a few words, which may hold passwords."""
    chain = [*_causes(error)]
    for fault, kind, words in _FAULTS:
        for cause in chain:
            if isinstance(cause, kind) and words in str(cause):
                return fault, _reason(cause)
    text = str(error)
    if isinstance(error, MasterNotFoundError):
        return _without_master(text, address)
    if any(words in text for words in _CLOSED):
        # An alert that follows the handshake (TLS 1.3) gets lost in asyncio's streams.
        fault = "client-certificate" if address.tls else "closed"
        return fault, "the server closed the connection"
    return "other", _reason(error)


def _without_master(text: str, address: Address) -> tuple[str, str]:
    """Explain redis-py's text: it names the kind of error of each Sentinel."""
    kinds = re.findall(r"> - [\w:]*?(\w+Error)\b", text)
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


def _reason(error: BaseException) -> str:
    default = "no answer in time" if isinstance(error, TimeoutError) else ""
    return str(error) or default or type(error).__name__
