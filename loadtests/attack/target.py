"""The deployment that is attacked, and connections to it."""

import asyncio
import ipaddress
import json
import random
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from gomlx.cli.sample_rows import SampleRows
from gomlx.client.client import Client
from gomlx.client.options import Options

_CONNECT_SECONDS = 10
# Of the attackers, who then count as another address than the other clients.
_SECOND_LOOPBACK = ("127.0.0.2", 0)


@dataclass(frozen=True)
class Target:
    """A deployment. Picklable, as attackers and other clients are processes.

    row: one that is answered with a 200, by the names of inputs. ca_file: of the
    authority that vouches for it; "": that of the system.
    """

    url: str
    model: str
    row: Mapping[str, Any]
    ca_file: str = ""

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or (443 if self.is_tls else 80)

    @property
    def is_tls(self) -> bool:
        """Whether connections use TLS."""
        return self.url.startswith("https:")

    def path(self, route: str = "eval") -> str:
        """Return the path of a route of the model."""
        return f"/v1/api/model/{self.model}/{route}"

    def get(self, path: str, headers: str = "") -> bytes:
        """Return a GET."""
        return f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode()

    def post(self, body: bytes, route: str = "eval", headers: str = "") -> bytes:
        """Return a POST."""
        head = f"POST {self.path(route)} HTTP/1.1\r\nHost: a\r\n{headers}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    @property
    def hit(self) -> bytes:
        """The request of a well-behaved client."""
        return self.post(json.dumps(self.row).encode())

    def plain_socket(self, is_attack: bool) -> socket.socket:
        """Return a socket that is not connected yet."""
        host, port = self.address
        family, *_ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, socket.SOCK_STREAM)
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if is_attack and host == "127.0.0.1":
            made.bind(_SECOND_LOOPBACK)
        return made

    def context(self, *protocols: str) -> ssl.SSLContext | None:
        """Return the TLS of a client, if there is any; protocols: by ALPN."""
        if not self.is_tls:
            return None
        made = ssl.create_default_context(cafile=self.ca_file or None)
        if protocols:
            made.set_alpn_protocols(protocols)
        return made

    async def connect(
        self, context: ssl.SSLContext | None, is_attack: bool = False
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection. Raises OSError, also after some time."""
        plain = self.plain_socket(is_attack)
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                loop = asyncio.get_running_loop()
                await loop.sock_connect(plain, self.address)
                name = self.address[0] if context else None
                return await asyncio.open_connection(
                    sock=plain, ssl=context, server_hostname=name
                )
        except BaseException:
            plain.close()
            raise


def is_loopback(url: str) -> bool:
    """Tell whether a URL is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def discover(url: str, model: str, row: str, ca_file: str) -> Target:
    """Return the target at a URL; row: JSON, or "", then one by its contract."""
    if row:
        return Target(url, model, json.loads(row), ca_file)
    with Client(model, url, options=Options(ca_file=ca_file or None)) as client:
        contract = client.contract
    assert contract is not None  # it is loaded with the client
    columns = SampleRows(contract, random.Random(1)).columns(1)
    found = {name: values[0] for name, values in columns.items()}
    return Target(url, model, found, ca_file)
