"""Certificates of servers and clients, as files, and contexts that trust them."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme


@dataclass
class Certificates:
    """An authority of our own and a client's certificate, as files."""

    folder: Path
    authority: trustme.CA = field(default_factory=trustme.CA)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority.cert_pem.write_to_path(self.ca)
        issued = self.authority.issue_cert("client@example.com")
        issued.private_key_and_cert_chain_pem.write_to_path(self.client)

    @property
    def ca(self) -> Path:
        return self.folder / "ca.pem"

    @property
    def client(self) -> Path:
        return self.folder / "client.pem"

    def context(self, verifies_clients: bool = False) -> ssl.SSLContext:
        """Return a server's context; verifies_clients: require a certificate."""
        made = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("127.0.0.1", "localhost").configure_cert(made)
        if verifies_clients:
            self.authority.configure_trust(made)
            made.verify_mode = ssl.CERT_REQUIRED
        return made


class Endpoint(Certificates):
    """An authority; a client's certificate, and a server's that can be replaced."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.issue()

    @property
    def certificate(self) -> Path:
        return self.folder / "server.pem"

    @property
    def key(self) -> Path:
        return self.folder / "server.key"

    def issue(self, **options: Any) -> trustme.LeafCert:
        """Write another certificate and its key; options: of trustme's issue_cert."""
        issued = self.authority.issue_cert("localhost", "127.0.0.1", "::1", **options)
        chain = b"".join(pem.bytes() for pem in issued.cert_chain_pems)
        self.certificate.write_bytes(chain)
        issued.private_key_pem.write_to_path(self.key)
        return issued

    def config(self, **options: Any) -> dict[str, Any]:
        """Return the section `tls` of a config."""
        return {"certificate": str(self.certificate), "key": str(self.key)} | options

    def trust(self, is_known: bool = True, *protocols: str) -> ssl.SSLContext:
        """Return a client's context; is_known: it has a certificate."""
        context = ssl.create_default_context(cafile=self.ca)
        if protocols:
            context.set_alpn_protocols(protocols)
        if is_known:
            context.load_cert_chain(self.client)
        return context


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands in memory, and return the client's side. Raises SSLError."""
    there = ssl.MemoryBIO()
    back = ssl.MemoryBIO()
    sides = [
        client.wrap_bio(back, there, server_hostname="localhost"),
        server.wrap_bio(there, back, server_side=True),
    ]
    for side in sides * 3:
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return sides[0]
