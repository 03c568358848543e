"""The options of config.yaml, as frozen structs.

Every option is declared here, once, with its default and its bounds;
`config.example.yaml` explains at length what the comment beside it says.
"""

import os
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from gomlx.errors import ConfigInvalid

Id = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=128)]
_SignatureName = Annotated[
    str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", max_length=128)
]
_REFERENCE = r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$"  # package.module:function
_MODULE = r"^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z"  # package.module
Positive = Annotated[int, Meta(ge=1)]
_YEAR = 366 * 86400.0
Seconds = Annotated[float, Meta(gt=0, le=_YEAR)]
TimeToLive = Annotated[float, Meta(ge=1, le=3650 * 86400)]
_Milliseconds = Annotated[float, Meta(gt=0, le=60_000)]
_Parallel = Annotated[int, Meta(ge=1, le=256)]
_SkipBelow = Annotated[float, Meta(ge=0, le=60_000_000)] | Literal["auto"] | None


class Tls(Struct, frozen=True, kw_only=True):
    """TLS of the endpoint: files in PEM form, read again when they change."""

    certificate: str  # the service's, then those of intermediate authorities
    key: str | None = None  # None: certificate holds it, too
    key_password: str | None = None  # for an encrypted key
    client_ca: str | None = None  # the authorities of clients' certificates
    client_certificate: Literal["none", "optional", "required"] = "none"
    minimum_version: Literal["1.2", "1.3"] = "1.2"


class Cors(Struct, frozen=True, kw_only=True):
    """Which pages of other sites may call the service from a browser."""

    # Such as https://shop.example, or * for any.
    origins: Annotated[tuple[str, ...], Meta(min_length=1)]
    headers: tuple[str, ...] = ()  # that pages send besides those of the API
    max_age_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 600  # of a preflight


class AuthClient(Struct, frozen=True, kw_only=True):
    """A client that may ask for predictions: by a token, or by its certificate."""

    name: Id
    token_file: str | None = None  # one token a line; read again when it changes
    # Of its certificates: CN=batch, or all of several, O=Example,CN=batch; or an
    # alternative name, URI=spiffe://example/batch, DNS=batch.example.
    subjects: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None  # None: all


class Auth(Struct, frozen=True, kw_only=True):
    """Who may ask for predictions."""

    clients: Annotated[tuple[AuthClient, ...], Meta(min_length=1)]


class Admin(Struct, frozen=True, kw_only=True):
    """Who may see the details of the service, and where."""

    token_file: str | None = None  # one token a line; read again when it changes
    open_meta: bool = True  # meta/…, from which clients with a cache learn models
    page: bool = True  # /ui, which shows the service to people
    # A listener of its own for the details; None: they are at the endpoint's.
    port: Annotated[int, Meta(ge=0, le=65535)] | None = None  # 0: any free one
    host: str = "127.0.0.1"
    allow: tuple[str, ...] = ()  # addresses and CIDRs of admins there; none: all
    tls: bool = True  # whether it speaks TLS as well, if the endpoint does

    @property
    def has_listener(self) -> bool:
        """Whether details have a listener of their own."""
        return self.port is not None


class Endpoint(Struct, frozen=True, kw_only=True):
    """Where and how the workers listen."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080  # 0: any free one
    # When connections are taken: once every model has answered or failed, or before.
    listen: Literal["ready", "at_once"] = "ready"
    socket: str | None = None  # the path of a unix socket, besides host and port
    socket_mode: Annotated[str, Meta(pattern=r"^0?[0-7]{3}\Z")] = "660"
    reuse_port: bool = False  # take over from a service that has it, too
    workers: Positive | None = None  # None: the CPU count
    max_body_bytes: Annotated[int, Meta(ge=1024)] = 1 << 20
    max_bodies_mb: Positive = 256  # of bodies under way in a worker, together
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1 << 20)] = 16 << 10
    max_connections: Positive = 10_000  # per worker
    keepalive_seconds: Seconds = 75.0  # then an idle connection is closed
    receive_seconds: Seconds = 10.0  # for one whole request to arrive
    stream_window: Positive = (
        256  # rows of a stream that run or whose answers are unread
    )
    stream_idle_seconds: Seconds = 60.0  # then a stream without a line ends
    request_seconds: Seconds = 30.0  # from its last byte to its answer
    # How long a stop by SIGTERM goes on accepting, for balancers to notice it.
    drain_seconds: Annotated[float, Meta(ge=0, le=_YEAR)] = 5.0
    graceful_seconds: Seconds = 30.0  # for open requests during a stop
    worker_timeout_seconds: Positive = 60  # a worker without a heartbeat is replaced
    max_requests: Annotated[int, Meta(ge=0)] = 0  # then a worker is recycled; 0: never
    trusted_proxies: tuple[str, ...] = ("127.0.0.1", "::1")  # may use h2c
    # X-Request-Id: answers have that of their request; or each has one; or none.
    request_id: Literal["echo", "make", "off"] = "echo"
    # Whether they may tell whose connection it is, with the PROXY protocol.
    proxy_protocol: bool = False
    tls: Tls | None = None  # None: cleartext
    cors: Cors | None = None  # None: no page of another site reads an answer
    auth: Auth | None = None  # None: all who reach the port may ask for predictions
    admin: Admin | None = None  # None: all see the details of the service


class LineFile(Struct, frozen=True, kw_only=True):
    """Where the lines of a log go, and which share of them."""

    to: str = "stdout"  # or a file; each worker has one of its own: name.0.jsonl
    sample: Annotated[float, Meta(gt=0, le=1)] = 1.0  # the share that is logged
    max_mb: Positive = 100  # then a file is renamed to name.0.jsonl.1
    keep: Annotated[int, Meta(ge=0, le=1000)] = 5  # renamed ones


class AccessLog(LineFile, frozen=True, kw_only=True):
    """One line for each request to the service, or for a share of them."""

    queries: bool = False  # whether the values of a GET are logged


class RequestLog(LineFile, frozen=True, kw_only=True):
    """One line for each row with its answer, or for a share of them."""

    # The inputs and outputs that are in a line, and no others.
    fields: tuple[str, ...] | Literal["all"]


class Batch(Struct, frozen=True, kw_only=True):
    """How rows of different requests join one run."""

    # Whether they may: if the graph proves it, never, or because you vouch for it; or
    # only those of one request, which is then the question as a whole.
    rows: Literal["proved", "alone", "independent", "together"] = "proved"
    max_rows: Positive = 64
    linger_ms: Annotated[float, Meta(ge=0, le=1000)] = 2.0  # only where that pays
    max_queued_rows: Positive = 4096
    max_queued_ms: _Milliseconds = 500.0  # run time of the rows before a new one
    runs: _Parallel | None = None  # expensive ones at once; None: by the cores
    threads: _Parallel | None = None  # of TensorFlow in a run; None: by the cost

    @property
    def request_rows(self) -> int:
        """How many rows a request may have: those that run together fit one run."""
        return self.max_rows if self.rows == "together" else self.max_queued_rows


class Input(Struct, frozen=True, kw_only=True):
    """One input of a model, where the graph alone does not say how to key it."""

    name: Annotated[str, Meta(min_length=1)]
    precision: Annotated[int, Meta(ge=0, le=15)] | None = None  # decimals of a float
    wildcard: bool = False  # keyed as is, whatever the graph proves
    auxiliary: bool = False  # not fed to the model; for the transformer
    missing: Literal["nan"] | None = None  # a float may be missing: null or NaN
    rename: str = ""  # its name in requests, where the model's has another meaning


class Isolate(Struct, frozen=True, kw_only=True):
    """A process of its own for the runs of a model, in each worker."""

    memory_mb: Positive = 2048  # that it may allocate, beside TensorFlow itself


class Model(Struct, frozen=True, kw_only=True):
    """One model and its URI, /v1/api/model/{id}/."""

    id: Id
    url: str
    datastore: str | None = None  # None: answers are not cached
    signature: str | None = None  # None: serving_default, or else the only one
    # Further ones that are served: all that the model has, none, or these.
    signatures: tuple[_SignatureName, ...] | Literal["all", "none"] = "all"
    tags: tuple[str, ...] = ("serve",)  # of the graph to serve, if there are several
    example: dict[str, Any] = {}  # a row that the model accepts, for its trial run
    inputs: tuple[Input, ...] = ()
    outputs: tuple[str, ...] = ()  # those that are served; none: all
    key_fields: tuple[str, ...] = ()  # auxiliary inputs that are part of the key
    transformer: Annotated[str, Meta(pattern=_REFERENCE)] | None = None
    # Python modules that register operations, imported before the graph is loaded.
    libraries: tuple[Annotated[str, Meta(pattern=_MODULE)], ...] = ()
    # Operations that reach files outside of the model, or hosts, and that it may have.
    allow_operations: tuple[str, ...] = ()
    batch: Batch = Batch()
    # A run that takes longer is given up, and its worker replaced.
    run_seconds: Seconds = 30.0
    isolate: Isolate | None = None  # None: it runs in the workers
    # Who shares one computation of a row: a process, a host, all hosts.
    coalesce: Literal["process", "host", "fleet"] = "process"
    lease_ms: _Milliseconds = 1000.0  # how long others wait for who computes a row
    log: RequestLog | None = None  # of its rows and answers; None: none


class CacheTier(Struct, frozen=True, kw_only=True):
    """A tier of a datastore that other hosts share."""

    connection: str
    ttl_seconds: TimeToLive | None = None  # None: the datastore's
    # Later rows are misses. None: 5 for the nearest tier, 20 for the others.
    deadline_ms: _Milliseconds | None = None
    read_only: bool = False
    max_value_bytes: Positive = 1 << 20  # larger answers are not written
    # Models whose run of a row takes less do without the tier; auto: less than a
    # look-up. None: all use it.
    skip_below_us: _SkipBelow = None

    def skips(self, run_seconds: float, lookup_seconds: float) -> bool:
        """Whether a model whose run takes so long does without the tier.

        lookup_seconds: what a look-up takes of a worker's CPU; 0: not known.
        """
        if self.skip_below_us == "auto":
            return run_seconds < lookup_seconds
        return run_seconds * 1e6 < (self.skip_below_us or 0)


class Datastore(Struct, frozen=True, kw_only=True):
    """One cache, shared by the models that name it."""

    id: Id
    memory_mb: Annotated[int, Meta(ge=0)] = 256  # 0: only the tiers
    ttl_seconds: TimeToLive = 3600.0
    tiers: tuple[CacheTier, ...] = ()  # nearest first
    queue_mb: Positive = 64  # of answers to be written, per tier


class Connection(Struct, frozen=True, kw_only=True):
    """A Redis, a Sentinel's master or a cluster."""

    id: Id
    url: str
    username: str | None = None
    password: str | None = None
    password_file: str | None = None  # read at start
    ca_file: str | None = None  # None: the system's authorities
    cert_file: str | None = None  # the client's certificate
    key_file: str | None = None
    sign_key_file: str | None = None  # the keys that sign values; None: unsigned
    timeout_seconds: Seconds = 1.0  # to connect, and for each command
    max_connections: Positive = 8  # per worker and datastore

    def read_password(self) -> str | None:
        """Return the password, maybe that of password_file. Raises ConfigInvalid."""
        if self.password_file is None:
            return self.password
        try:
            return Path(self.password_file).read_text().strip()
        except (OSError, ValueError) as error:
            where = f"connection {self.id!r}: password_file"
            raise ConfigInvalid(where, [str(error)]) from None


class Watch(Struct, frozen=True, kw_only=True):
    """How model changes are detected and staged."""

    poll_seconds: Seconds = 5.0
    settle_seconds: Annotated[float, Meta(ge=0, le=_YEAR)] = 1.0
    stage_seconds: Seconds = 600.0
    stagings: Positive = 1
    patient_seconds: Seconds = 60.0
    trial_seconds: Seconds = 60.0
    stage_memory_mb: Positive | None = None  # None: as much as there is
    stage_cpu_seconds: Positive | None = None  # None: what stage_seconds allow


class Tracing(Struct, frozen=True, kw_only=True):
    """Traces for OpenTelemetry; what is not given, the variables OTEL_… say."""

    endpoint: str | None = None  # of a collector: OTLP over HTTP
    # Of the requests without a traceparent, which says it itself.
    sample_ratio: Annotated[float, Meta(ge=0, le=1)] | None = None
    service_name: str | None = None  # None: gomlx


class Config(Struct, frozen=True, kw_only=True):
    """A whole config file."""

    run_dir: str | None = None
    log_level: Annotated[str, Meta(pattern="^(debug|info|warning|error)$")] = "info"
    log_format: Literal["text", "json"] = "text"
    access_log: AccessLog | None = None  # None: none
    # Whether staging and workers may write to the service's own folders only, and
    # execute nothing, where the kernel can forbid it (Landlock).
    sandbox: bool = True
    endpoint: Endpoint = Endpoint()
    watch: Watch = Watch()
    models: Annotated[tuple[Model, ...], Meta(min_length=1)]
    datastores: tuple[Datastore, ...] = ()
    connections: tuple[Connection, ...] = ()
    tracing: Tracing | None = None  # None: no request is recorded

    @property
    def workers(self) -> int:
        """How many worker processes run."""
        return self.endpoint.workers or os.cpu_count() or 1

    @property
    def log_folders(self) -> list[Path]:
        """The folders that logs of requests are written to."""
        logs = (self.access_log, *(model.log for model in self.models))
        return [Path(one.to).parent for one in logs if one and one.to != "stdout"]

    def datastore_of(self, model: Model) -> Datastore | None:
        """The datastore a model names."""
        return next((d for d in self.datastores if d.id == model.datastore), None)


class LoadedConfig(Config, frozen=True, kw_only=True):
    """A config file as it was read: its local paths are absolute.

    folder: the file's, to which they are relative where people see them.
    """

    folder: str = ""
