"""Parse the head of a request: which hot route it is for, if any, and its options.

A pure function of the bytes, so its result can be kept: a client sends the same head
again and again, and then the strict parser (llhttp) runs once.
"""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import httptools

from gomlx.errors import InvalidInput
from gomlx.server.http.target import decoded_path, is_host
from gomlx.server.predict import deadlines

_METHODS = (b"POST", b"GET")
_HOT_PREFIXES = (b"POST /v1/api/model/", b"GET /v1/api/model/")
TRACEPARENT = b"traceparent"  # is unusual, but server/recording takes it out
# A request with one of these headers is unusual: Gunicorn knows what to do.
_UNUSUAL = frozenset(
    {b"transfer-encoding", b"expect", b"upgrade", b"content-encoding", TRACEPARENT}
)
_ORIGIN = frozenset({b"origin"})
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for"})  # by which proxies
_TIMEOUT = deadlines.HEADER.lower().encode()
_ONCE = frozenset({b"host", b"content-type", b"authorization", _TIMEOUT})
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_KEPT_HEADS = 1024
KEPT_BYTES = 1024
HEAD_END = b"\r\n\r\n"
CLOSE: Final = "close"
KEEP_ALIVE: Final = "keep-alive"
_NOBODY = frozenset[str]()

# Whether a request for a model may be answered, by its header Authorization and the
# names of its client's certificate.
Admits = Callable[[str, str | None, frozenset[str]], bool]
NameFilter = Callable[[frozenset[str]], frozenset[str]]
# The address that the headers which proxies add name as that of the client, or "".
ClientOf = Callable[[Sequence[tuple[bytes, bytes]]], str]


@dataclass(frozen=True, slots=True)
class Head:
    """The head of a request for a hot route.

    query: None for a POST. length: the bytes of its body. connection: what the answer
    says of the connection: CLOSE, or that it goes on, which is "" over HTTP/1.1 and
    KEEP_ALIVE over HTTP/1.0. timeout_seconds: how long the request waits for its
    answer. client: whose request it is, if it comes from a trusted proxy, where that
    is told at all.
    """

    model: str
    query: str | None
    length: int
    connection: str
    timeout_seconds: float
    is_http_1_0: bool = False
    client: str = ""


ParseHead = Callable[[bytes], Head | None]


class ParsesHeads(Protocol):
    """What parses the heads of one connection."""

    @property
    def short(self) -> ParseHead:
        """Parses short heads, and keeps what it returns."""

    def __call__(self, head: bytes, /) -> Head | None:
        """Return what a head says, unless its request is unusual."""

    def short_for(self, head: bytes, /) -> ParseHead | None:
        """Return what parses short heads like this one, which `short` does not."""

    def read(self, head: bytes, /) -> Head | None:
        """Return what a head says, which others may not have in common with it."""


class _HeadRules(NamedTuple):
    """What a parser of heads does only if it is told to.

    admits: None: all requests. known: the names of a certificate that matter; None:
    none does. client_of: None: a Head does not tell whose request it is.
    """

    admits: Admits | None = None
    known: NameFilter | None = None
    client_of: ClientOf | None = None


class HeadParser:
    """Parses a whole head, with the empty line that ends it.

    The result is None where the request is not for a hot route, unusual or malformed,
    or not admitted. `short` is for heads of up to KEPT_BYTES, and keeps its results.
    generation: how often they were forgotten.
    """

    def __init__(
        self,
        routes: dict[bytes, str],
        max_body: int,
        max_seconds: float,
        is_origin_usual: bool = True,
    ) -> None:
        """routes: path → model, or path?signature=NAME → model.

        max_seconds: of any request, to its answer.

        is_origin_usual: whether a request that has an Origin is answered as others are.
        """
        self.unusual = _UNUSUAL if is_origin_usual else _UNUSUAL | _ORIGIN
        self.max_body = max_body
        self.max_seconds = max_seconds
        self._routes = routes
        self.short = lru_cache(_KEPT_HEADS)(self._parse)
        self.generation = 0
        self._rules = _HeadRules()
        self._names = _NOBODY  # of the certificate of its connections' clients
        self._certified: dict[frozenset[str], HeadParser] = {}
        self._forgets: list[Callable[[], None]] = []

    def add_route(self, path: bytes, model: str) -> None:
        """Have requests for another path answered here, too."""
        self._routes[path] = model
        self.forget()

    @property
    def tells_certificates(self) -> bool:
        """Whether it matters who a connection's client is by its certificate."""
        return self._rules.known is not None

    def restrict(self, admits: Admits, known: NameFilter | None) -> None:
        """Admit certain requests only, which is part of what is kept of a head.

        known: the names of a certificate that matter; None: none does.
        """
        self._rules = self._rules._replace(admits=admits, known=known)
        self.forget()

    def tell_clients(self, client_of: ClientOf) -> None:
        """Have each Head tell whose request it is, as its headers have it."""
        self._rules = self._rules._replace(client_of=client_of)
        self.forget()

    def client_of(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Return whose request it is by its headers, where that is told."""
        client_of = self._rules.client_of
        return client_of(headers) if client_of and headers else ""

    def certified(self, names: frozenset[str]) -> "HeadParser":
        """Return the parser for connections whose client's certificate has names."""
        known = self._rules.known
        names = known(names) if known else _NOBODY
        if not names:
            return self
        parser = self._certified.get(names)
        if parser is None:
            parser = self._anew()
            parser.unusual = self.unusual
            parser._rules = self._rules._replace(known=None)
            parser._names = names
            self._certified[names] = parser
            self.when_forgotten(parser.forget)
        return parser

    def _anew(self) -> "HeadParser":
        return HeadParser(self._routes, self.max_body, self.max_seconds)

    def for_connection(self) -> "ParsesHeads":
        """Return what parses the heads of a new connection."""
        return self

    def short_for(self, head: bytes) -> "ParseHead | None":
        """Return what parses short heads like this one, which `short` does not."""
        return None

    def read(self, head: bytes) -> Head | None:
        """Return what a head says, which others may not have in common with it."""
        return None

    def admits(self, model: str, authorization: str | None) -> bool:
        """Whether a request for a model is admitted."""
        admits = self._rules.admits
        return admits is None or admits(model, authorization, self._names)

    def when_forgotten(self, forget: Callable[[], None]) -> None:
        """Have this called whenever what is kept of requests is not valid any more."""
        self._forgets.append(forget)

    @property
    def keeps_heads(self) -> bool:
        """Whether the same head says the same until it is forgotten."""
        return True

    def forget(self) -> None:
        """Parse every head anew: other routes are hot, or other tokens are known."""
        self.generation += 1
        self.short.cache_clear()
        for forget in self._forgets:
            forget()

    def configure(
        self, is_served: Callable[[str], bool], max_body: int, max_seconds: float
    ) -> None:
        """Have no hot routes but those of models that are served, and other limits."""
        self.max_body = max_body
        self.max_seconds = max_seconds
        for path, model in [*self._routes.items()]:
            if not is_served(model):
                del self._routes[path]
        for parser in self._certified.values():
            parser.max_body = max_body
            parser.max_seconds = max_seconds
        self.forget()

    def __call__(self, head: bytes) -> Head | None:
        return self.short(head) if len(head) <= KEPT_BYTES else self._parse(head)

    def model_of(self, target: bytes, is_get: bool) -> str | None:
        """Return the model that a target is for; None: it is no hot route.

        Raises InvalidInput.
        """
        path, _, query = target.partition(b"?")
        routes = self._routes
        if b"signature=" in query:
            return None if is_get else routes.get(target)
        return routes.get(path) or routes.get(decoded_path(path).encode())

    def _parse(self, head: bytes) -> Head | None:
        line = head[: head.find(b"\r\n")].split(b" ")
        if len(line) != 3 or line[2] not in _VERSIONS or line[0] not in _METHODS:
            return None
        is_get = line[0] == b"GET"
        headers = _Headers(self.unusual, line[2] == b"HTTP/1.0")
        try:
            model = self.model_of(line[1], is_get)
            if model is None:
                return None
            httptools.HttpRequestParser(headers).feed_data(head)
            seconds = deadlines.timeout_seconds(headers.timeout, self.max_seconds)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, InvalidInput):
            return None
        if not headers.are_usual or headers.length > (0 if is_get else self.max_body):
            return None
        if not self.admits(model, headers.authorization):
            return None
        text = line[1].partition(b"?")[2].decode("latin-1") if is_get else None
        connection = headers.connection
        client = self.client_of(headers.forwarded)
        return Head(
            *(model, text, headers.length, connection, seconds),
            headers.is_http_1_0,
            client,
        )


def may_begin_hot_request(start: bytes) -> bool:
    """Whether a head that begins with these bytes can be one for a hot route."""
    return any(start[: len(hot)] == hot[: len(start)] for hot in _HOT_PREFIXES)


class _Headers:
    """What the headers of one request say. The parser calls it for each."""

    def __init__(self, unusual: Container[bytes], is_http_1_0: bool) -> None:
        self.length = 0
        self.is_http_1_0 = is_http_1_0
        self.timeout: str | None = None
        self.authorization: str | None = None
        self.forwarded: list[tuple[bytes, bytes]] = []
        self._unusual = unusual
        self._is_unusual = False
        self._names: set[bytes] = set()
        self._closes = False
        self._asks_to_go_on = False

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in self._unusual or (name in _ONCE and name in self._names):
            self._is_unusual = True
        self._names.add(name)
        if name == b"content-length":
            self.length = int(value)
        elif name == b"connection":
            value = value.lower()
            self._closes = self._closes or b"close" in value
            self._asks_to_go_on = self._asks_to_go_on or b"keep-alive" in value
        elif name == _TIMEOUT:
            self.timeout = value.decode("latin-1")
        elif name == b"authorization":
            self.authorization = value.decode("latin-1")
        elif name in FORWARDED:
            self.forwarded.append((name, value))
        elif name == b"host":
            self._is_unusual = self._is_unusual or not is_host(value)

    @property
    def are_usual(self) -> bool:
        has_host = self.is_http_1_0 or b"host" in self._names
        return has_host and not self._is_unusual

    @property
    def connection(self) -> str:
        """What the answer says of the connection (RFC 9112, section 9.3)."""
        if self._closes:
            return CLOSE
        if not self.is_http_1_0:
            return ""
        return KEEP_ALIVE if self._asks_to_go_on else CLOSE
