"""How a client behaves: every option, declared once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """What a client may take, and how long. The defaults suit a service near by."""

    timeout_seconds: float = 5.0  # of a call that does not say
    ttl_seconds: float = 300.0  # of an answer here; never longer than the service's
    max_entries: int = 100_000  # rows kept, of each of the two latest versions
    max_bytes: int = 64 << 20  # about what they take
    negative_seconds: float = 1.0  # how long a row that failed is not asked again
    refresh_seconds: float = 30.0  # how often the service is asked for a new version
    redis_seconds: float = 0.02  # how long the shared tier is waited for
    hedge: bool = False  # ask a second host when the first takes longer than 95 % do
    max_connections: int = 32  # to each host
    idle_seconds: float = 30.0  # a connection is kept unused; less than the service's
    connection_seconds: float = 600.0  # a connection's age at most: hosts may be added
    http2: bool = (
        False  # needs the extra `http2`; prior knowledge where there is no TLS
    )
    ca_file: str | None = None  # whom to trust, instead of the system's
    cert_file: str | None = None  # this client's certificate,
    key_file: str | None = None  # and its key
