"""Parse the head of a request: is it one for the hot routes, and what does it ask?

A pure function of the bytes, so what it made of a head can be kept: a client sends the
same head again and again, and then the strict parser (llhttp) runs once.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

import httptools

from gomlx.errors import InvalidInput
from gomlx.server.predict import deadlines

_METHODS = (b"POST", b"GET")
# Headers whose presence makes a request unusual: Gunicorn knows what to do.
_UNUSUAL = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"content-encoding"})
_TIMEOUT = deadlines.HEADER.lower().encode()
_ONCE = frozenset({b"host", b"content-type", _TIMEOUT})
_KEPT_HEADS, KEPT_BYTES = 1024, 1024


class Head(NamedTuple):
    """A request for a hot route. query is None for a POST, whose body has length.

    seconds: how long it waits for its answer.
    """

    model: str
    query: str | None
    length: int
    keeps_alive: bool
    seconds: float


class HeadParser:
    """From a whole head (to its empty line) to what it asks.

    None means not for us, or unusual, or wrong. `short` is for heads of up to
    KEPT_BYTES, and remembers them.
    """

    def __init__(
        self, routes: Mapping[bytes, str], max_body: int, max_seconds: float
    ) -> None:
        """routes: path → model. max_seconds: of any request, to its answer."""

        def parse(head: bytes) -> Head | None:
            return _parse(head, routes, max_body, max_seconds)

        self._parse = parse
        self.short: Callable[[bytes], Head | None] = lru_cache(_KEPT_HEADS)(parse)

    def __call__(self, head: bytes) -> Head | None:
        return self.short(head) if len(head) <= KEPT_BYTES else self._parse(head)


def _parse(
    head: bytes, routes: Mapping[bytes, str], max_body: int, max_seconds: float
) -> Head | None:
    line = head[: head.find(b"\r\n")].split(b" ")
    if len(line) != 3 or line[2] != b"HTTP/1.1" or line[0] not in _METHODS:
        return None
    path, _, query = line[1].partition(b"?")
    if path not in routes:
        return None
    seen = _Headers()
    try:
        httptools.HttpRequestParser(seen).feed_data(head)
        seconds = deadlines.seconds_of(seen.timeout, max_seconds)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade, InvalidInput):
        return None
    is_get = line[0] == b"GET"
    if not seen.suits or seen.length > (0 if is_get else max_body):
        return None
    text = query.decode("latin-1") if is_get else None
    return Head(routes[path], text, seen.length, not seen.closes, seconds)


def may_be_hot(start: bytes) -> bool:
    """False when the first bytes can belong to no request of ours."""
    routes = (b"POST /v1/api/model/", b"GET /v1/api/model/")
    return any(start[: len(route)] == route[: len(start)] for route in routes)


class _Headers:
    """What the parser tells of the headers."""

    def __init__(self) -> None:
        self.length = 0
        self.closes = self._is_unusual = False
        self.timeout: str | None = None
        self._seen: set[bytes] = set()

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _UNUSUAL or (name in _ONCE and name in self._seen):
            self._is_unusual = True
        self._seen.add(name)
        if name == b"content-length":
            self.length = int(value)
        elif name == b"connection":
            self.closes = self.closes or b"close" in value.lower()
        elif name == _TIMEOUT:
            self.timeout = value.decode("latin-1")

    @property
    def suits(self) -> bool:
        return b"host" in self._seen and not self._is_unusual
