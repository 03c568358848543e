"""The fields of requests and responses: HTTP/2's words for a Head and for a Reply."""

from collections.abc import Mapping
from functools import lru_cache

from gomlx.errors import InvalidInput
from gomlx.server.http.head import KEPT_BYTES, TRACEPARENT, Head
from gomlx.server.http.http2.engine import Header
from gomlx.server.http.target import is_host
from gomlx.server.predict import deadlines
from gomlx.server.predict.reply import Reply
from gomlx.server.recording.heads import TracingHeadParser

HeaderFields = tuple[Header, ...]

_METHODS = (b"GET", b"POST")
_TIMEOUT = deadlines.HEADER.lower().encode()
_ONCE = frozenset({b"host", b"content-type", b"authorization", _TIMEOUT})
_KEPT_HEADS = 1024


class FieldsParser:
    """The fields of a request → its Head; None: it is for no hot route, or unusual.

    What parses the heads of HTTP/1.1 decides alike: the same routes, the same limits.
    """

    def __init__(self, parser: TracingHeadParser, max_bytes: int) -> None:
        """max_bytes: of all fields."""
        self.max_bytes = max_bytes
        self._parser = parser
        self._kept: dict[HeaderFields, Head | None] = {}
        self._certified: dict[TracingHeadParser, FieldsParser] = {}
        parser.when_forgotten(self._kept.clear)

    def certified(self, names: frozenset[str]) -> "FieldsParser":
        """Return the parser for connections whose client's certificate has names."""
        parser = self._parser.certified(names)
        if parser not in self._certified:
            found = FieldsParser(parser, self.max_bytes)
            self._certified[parser] = self if parser is self._parser else found
        return self._certified[parser]

    def __call__(self, fields: HeaderFields) -> Head | None:
        # PERF: a client sends the same fields again and again.
        try:
            return self._kept[fields]
        except KeyError:
            if _is_traced(fields):
                return self._traced(fields)
            head = self._parse(fields)
        # What is for no hot route may be for one that comes with another version.
        if head is not None and size_of(fields) <= KEPT_BYTES:
            if len(self._kept) >= _KEPT_HEADS:
                self._kept.clear()
            self._kept[fields] = head
        return head

    def _traced(self, fields: HeaderFields) -> Head | None:
        """Return the Head of a request with a traceparent, which no other has."""
        values = [value for name, value in fields if name == TRACEPARENT]
        rest = tuple(field for field in fields if field[0] != TRACEPARENT)
        head = self(rest)
        recording = self._parser.recording
        if head is None or len(values) > 1:
            return head
        return recording.head(head, values[0], "2")

    def _parse(self, fields: HeaderFields) -> Head | None:
        values = dict(fields)
        parser = self._parser
        if not self._is_usual(fields, values):
            return None
        target = values[b":path"]
        is_get = values[b":method"] == b"GET"
        length = int(values.get(b"content-length", b"0"))  # the engine has checked it
        timeout = values[_TIMEOUT].decode("latin-1") if _TIMEOUT in values else None
        try:
            model = parser.model_of(target, is_get)
            seconds = deadlines.timeout_seconds(timeout, parser.max_seconds)
        except InvalidInput:
            return None
        if model is None or length > (0 if is_get else parser.max_body):
            return None
        authorization = values.get(b"authorization")
        given = None if authorization is None else authorization.decode("latin-1")
        if not parser.admits(model, given):
            return None
        query = target.partition(b"?")[2].decode("latin-1") if is_get else None
        return Head(model, query, length, "", seconds)

    def _is_usual(self, fields: HeaderFields, values: Mapping[bytes, bytes]) -> bool:
        return (
            values[b":method"] in _METHODS
            and values[b":path"].isascii()
            and is_host(values.get(b":authority", values.get(b"host", b"")))
            and not _repeats(fields)
            and size_of(fields) <= self.max_bytes
            and self._parser.unusual.isdisjoint(values)
        )


def size_of(fields: HeaderFields) -> int:
    """Return how many bytes the fields would have in a head of HTTP/1.1."""
    return sum(len(name) + len(value) + 4 for name, value in fields)


def response_fields(reply: Reply, lines: bytes) -> list[Header]:
    """Return the fields of a response; lines: headers that every response has."""
    length = (b"content-length", b"%d" % len(reply.body))
    shared = _shared(
        reply.status, reply.cache_status, reply.version, reply.retry_after, lines
    )
    return [*shared, length]


def date_of(lines: bytes) -> Header:
    """Return the date among the headers that every response has."""
    name, value = lines[: lines.index(b"\r\n")].split(b": ", 1)
    return name, value


# PERF: for a second all hits of a model have the same.
@lru_cache(1024)
def _shared(
    status: int,
    cache_status: str,
    version: str,
    retry_after: int | None,
    lines: bytes,
) -> HeaderFields:
    """Return the fields that many responses share."""
    fields: list[Header] = [
        (b":status", b"%d" % status),
        (b"content-type", b"application/json"),
    ]
    if version:
        fields.append((b"cache-status", cache_status.encode()))
        fields.append((b"gomlx-version", version.encode()))
    elif retry_after is not None:
        fields.append((b"retry-after", b"%d" % retry_after))
    for line in lines.split(b"\r\n")[:-1]:
        name, value = line.split(b": ", 1)
        fields.append((name, value))
    return tuple(fields)


def _is_traced(fields: HeaderFields) -> bool:
    for name, _ in fields:  # PERF: any() over a generator takes four times as long
        if name == TRACEPARENT:
            return True
    return False


def _repeats(fields: HeaderFields) -> bool:
    """Whether a field comes twice that may come once."""
    names = [name for name, _ in fields if name in _ONCE]
    return len(names) > len(set(names))
