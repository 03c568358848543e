"""How to connect to a Redis."""

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class RedisOptions:
    """A URL says all that is needed; a login given here comes first.

    timeout_seconds bounds connecting, and each command. The files are those of TLS;
    without ca_file the authorities of the system are trusted. sign_key_file: the keys
    that sign values, None: they are not signed.
    """

    url: str = field(repr=False)
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    timeout_seconds: float = 1.0
    max_connections: int = 8
    sign_key_file: str | None = None


class ConfiguredConnection(Protocol):
    """A connection of the config file."""

    @property
    def url(self) -> str: ...
    @property
    def username(self) -> str | None: ...
    @property
    def ca_file(self) -> str | None: ...
    @property
    def cert_file(self) -> str | None: ...
    @property
    def key_file(self) -> str | None: ...
    @property
    def timeout_seconds(self) -> float: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def sign_key_file(self) -> str | None: ...

    def read_password(self) -> str | None:
        """Return the password. Raises ConfigInvalid if its file cannot be read."""
