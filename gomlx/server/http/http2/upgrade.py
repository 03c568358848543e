"""A request of HTTP/1.1 that asks for HTTP/2, in the words of HTTP/2."""

from base64 import urlsafe_b64decode
from collections.abc import Iterable
from typing import NamedTuple

# Headers that are no part of a request.
_OF_THE_CONNECTION = frozenset(
    {b"connection", b"upgrade", b"http2-settings", b"transfer-encoding"}
)


class UpgradeRequest(NamedTuple):
    """It becomes the first stream.

    settings: the payload of HTTP2-Settings.
    """

    settings: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes

    @property
    def is_head(self) -> bool:
        """Whether its response has no body."""
        return (b":method", b"HEAD") in self.fields


def settings_of(header: bytes) -> bytes:
    """Return the payload that a valid HTTP2-Settings header encodes."""
    return urlsafe_b64decode(header + b"=" * (-len(header) % 4))


def fields_of(
    method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]
) -> tuple[tuple[bytes, bytes], ...]:
    """Return the fields of HTTP/2 that say the same as a head of HTTP/1.1."""
    fields = [(b":method", method.encode()), (b":path", target)]
    for name, value in headers:
        if name.lower() not in _OF_THE_CONNECTION:
            fields.append((name.lower(), value))
    return tuple(fields)
