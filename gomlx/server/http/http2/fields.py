"""The fields of requests and responses: HTTP/2's words for a Head and for a Reply."""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from gomlx.errors import InvalidInput
from gomlx.server.http.head import FORWARDED, KEPT_BYTES, TRACEPARENT, Head
from gomlx.server.http.http2.engine import Header
from gomlx.server.http.ids.field import MOST_BYTES, REQUEST_ID, RequestIds
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

    def __init__(
        self,
        parser: TracingHeadParser,
        max_bytes: int,
        ids: RequestIds | None = None,
    ) -> None:
        """max_bytes: of all fields. ids: decides which id a request has, if it can."""
        self.max_bytes = max_bytes
        self._parser = parser
        self._ids = ids
        self._kept: dict[HeaderFields, Head | None] = {}
        self._certified: dict[TracingHeadParser, FieldsParser] = {}
        parser.when_forgotten(self._kept.clear)

    def certified(self, names: frozenset[str]) -> "FieldsParser":
        """Return the parser for connections whose client's certificate has names."""
        parser = self._parser.certified(names)
        if parser not in self._certified:
            found = type(self)(parser, self.max_bytes, self._ids)
            self._certified[parser] = self if parser is self._parser else found
        return self._certified[parser]

    def __call__(self, fields: HeaderFields) -> "Head | IdentifiedHead | None":
        # PERF: a client sends the same fields again and again.
        try:
            return self._kept[fields]
        except KeyError:
            if self._ids is not None and (at := _place(fields, REQUEST_ID)) is not None:
                return self._identified(self._ids, fields, at)
            return self._new(fields)

    def _new(self, fields: HeaderFields) -> Head | None:
        """Parse fields that are not kept, and keep them."""
        if _place(fields, TRACEPARENT) is not None:
            return self._traced(fields)
        head = self._parse(fields)
        # What is for no hot route may be for one that comes with another version.
        if head is not None and size_of(fields) <= KEPT_BYTES:
            if len(self._kept) >= _KEPT_HEADS:
                self._kept.clear()
            self._kept[fields] = head
        return head

    def _identified(
        self, ids: RequestIds, fields: HeaderFields, at: int
    ) -> "IdentifiedHead | None":
        """Return the Head of a request with an id, which no other has."""
        head = self._anonymous(fields[:at] + fields[at + 1 :])
        if head is None:
            return None
        value = fields[at][1]
        # PERF: as nearly all are.
        is_usual = value.isalnum() and len(value) <= MOST_BYTES
        return IdentifiedHead(head, value if is_usual else ids.of([value.strip()]))

    def _anonymous(self, fields: HeaderFields) -> Head | None:
        """Return the Head of a request, but for its id."""
        try:
            return self._kept[fields]
        except KeyError:
            return self._new(fields)

    def _traced(self, fields: HeaderFields) -> Head | None:
        """Return the Head of a request with a traceparent, which no other has."""
        values = [value for name, value in fields if name == TRACEPARENT]
        rest = tuple(field for field in fields if field[0] != TRACEPARENT)
        head = self._anonymous(rest)
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
        forwarded = [field for field in fields if field[0] in FORWARDED]
        client = parser.client_of(forwarded)
        return Head(model, query, length, "", seconds, client=client)

    def _is_usual(self, fields: HeaderFields, values: Mapping[bytes, bytes]) -> bool:
        return (
            values[b":method"] in _METHODS
            and values[b":path"].isascii()
            and is_host(values.get(b":authority", values.get(b"host", b"")))
            and not _repeats(fields)
            and size_of(fields) <= self.max_bytes
            and self._parser.unusual.isdisjoint(values)
        )


class MakingFieldsParser(FieldsParser):
    """One where every request has an id: its own, or a fresh one."""

    def __call__(self, fields: HeaderFields) -> "Head | IdentifiedHead | None":
        assert self._ids is not None  # it makes them
        at = _place(fields, REQUEST_ID)
        if at is not None:
            return self._identified(self._ids, fields, at)
        head = self._anonymous(fields)
        return head and IdentifiedHead(head, self._ids.fresh())


class IdentifiedHead(NamedTuple):
    """The Head of a request, and its id."""

    head: Head
    request_id: bytes

    @property
    def query(self) -> str | None:
        """That of the Head."""
        return self.head.query


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


def _place(fields: HeaderFields, wanted: bytes) -> int | None:
    """Return where a field is first."""
    at = 0
    for name, _ in fields:  # PERF: any() over a generator takes four times as long
        if name == wanted:
            return at
        at += 1
    return None


def _repeats(fields: HeaderFields) -> bool:
    """Whether a field comes twice that may come once."""
    names = [name for name, _ in fields if name in _ONCE]
    return len(names) > len(set(names))
