"""The certificate of a TLS connection's client: who it names, and until when."""

import re
import ssl
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

# As RFC 4514 abbreviates them; the others keep the names that OpenSSL gives them.
_SHORT = {
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "streetAddress": "STREET",
    "userId": "UID",
}
_split = re.compile(r"(?<!\\),\s*").split
_unescaped = re.compile(r"\\(.)").sub


class Certificate(NamedTuple):
    """What a client's certificate says; the TLS handshake has verified it.

    names: such as CN=batch and O=Example, of its subject; and URI=spiffe://…, DNS=… of
    its alternative names. expires: a Unix time.
    """

    names: frozenset[str]
    expires: float

    @property
    def valid_names(self) -> frozenset[str]:
        """The names, unless it has expired since the handshake, or before.

        A TLS session that is resumed has its client's certificate verified no more.
        """
        return self.names if time.time() < self.expires else ANONYMOUS.names


ANONYMOUS = Certificate(frozenset(), 0.0)


def certificate_of(tls: ssl.SSLObject | None) -> Certificate:
    """Return the certificate of a connection's client; ANONYMOUS if it has none."""
    fields: dict[str, Any] = (tls and tls.getpeercert()) or {}
    if not fields:
        return ANONYMOUS
    expires = ssl.cert_time_to_seconds(fields["notAfter"])
    return Certificate(frozenset(_names(fields)), expires)


def names_in(subject: str) -> frozenset[str]:
    """Return the names that a config's subject asks for: CN=batch, O=Example.

    A comma within a name has a backslash before it.
    """
    return frozenset(_unescaped(r"\1", name) for name in _split(subject.strip()))


def _names(fields: dict[str, Any]) -> Iterator[str]:
    for parts in fields.get("subject", ()):
        for kind, value in parts:
            yield f"{_SHORT.get(kind, kind)}={value}"
    for kind, value in fields.get("subjectAltName", ()):
        yield f"{kind}={value}"
