"""How a client behaves: every option, declared once."""

from dataclasses import dataclass, field, fields
from numbers import Integral, Real
from typing import Any

_NUMBERS: dict[Any, Any] = {float: Real, int: Integral}  # numpy's, too


@dataclass(frozen=True)
class Options:
    """Limits and times of a client. The defaults suit a service near by.

    Raises ValueError for a value that an option cannot have.
    """

    timeout_seconds: float = 5.0  # of a call without its own
    ttl_seconds: float = 300.0  # of an answer here; never longer than the service's
    max_entries: int = 100_000  # rows kept, of each of the two latest versions
    max_bytes: int = 64 << 20  # that they may use, approximately
    negative_seconds: float = 1.0  # how long a row that failed is not sent again
    refresh_seconds: float = 30.0  # between two checks for a new version; 0: never
    redis_seconds: float = 0.02  # how long the shared tier is waited for
    hedge: bool = False  # try a second host when the first takes longer than 95 % do
    max_connections: int = 32  # to each host
    idle_seconds: float = 30.0  # a connection is kept unused; less than the service's
    connection_seconds: float = 600.0  # a connection's age at most: hosts may be added
    http2: bool = False  # needs the extra `http2`; without TLS, by prior knowledge
    ca_file: str | None = None  # authorities to trust, instead of the system's
    cert_file: str | None = None  # this client's certificate,
    key_file: str | None = None  # and its key
    token: str | None = field(default=None, repr=False)  # that endpoint.auth asks for
    token_file: str | None = None  # a file of it, read again when it changes
    sign_key_file: str | None = None  # the service's keys of its shared tier

    def __post_init__(self) -> None:
        for one in fields(self):
            _check(one.name, one.type, getattr(self, one.name))
        if self.token is not None and self.token_file is not None:
            raise ValueError(
                "token_file: there is a token already; give one of the two"
            )


def _check(name: str, kind: Any, value: Any) -> None:
    least = 1 if kind is int else 0
    is_good = isinstance(value, _NUMBERS.get(kind, kind))
    if kind in _NUMBERS and is_good:
        is_good = value >= least
    if not is_good:
        expected = f"a number, {least} or more" if kind in _NUMBERS else kind
        raise ValueError(f"{name}: expected {expected}, got {value!r}")
