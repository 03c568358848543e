"""Heads with an X-Request-Id: it is taken out, and the rest parsed as any other head.

No two requests have the same id, so a head with one is never among those that are kept.
What remains of it is.
"""

from gomlx.server.http.head import Head, HeadParser, ParseHead
from gomlx.server.http.ids.field import (
    MOST_BYTES,
    USUAL_FORM,
    RequestIds,
    find,
)
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.reader import CompleteRequest, Reader

_END = b"\r\n"
PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=@"


# What a request has around its id, up to its body: the bytes before and after it; where
# it begins and ends, and the body begins; what the head says; the generation of the
# parser when it said so. PERF: a NamedTuple costs 0.4 us more to make.
_Around = tuple[bytes, bytes, int, int, int, Head, int]

_NOTHING: _Around = (b"\0", b"", 0, 0, 0, Head("", None, 0, "", 0.0), 0)
_MOST_AROUND = 8  # of one connection: as much as it costs anyway


class IdentifiedHeads:
    """Parses the heads of one connection.

    request_id: of the request whose head was parsed last; b"": it has none. around:
    what requests of a size had around their ids. parser: of what remains.
    """

    def __init__(self, parser: HeadParser, ids: RequestIds) -> None:
        """parser: parses what remains."""
        self.request_id = b""
        self._ids = ids
        self._form = USUAL_FORM  # how the peer writes the header
        self.use(parser)

    def use(self, parser: HeadParser) -> None:
        """Parse what remains of further heads by another parser."""
        self.parser = parser
        self.around: dict[int, _Around] = {}
        self._heads = parser.for_connection()
        self._parse_short = self._heads.short
        self._is_alike = True  # no traceparent, which is as unique, is beside the id

    def short(self, head: bytes) -> Head | None:
        """Parse a short head whose header is written as in the last one.

        A value of plain characters holds no other field, and no end of a line; what
        else there is, `read` decides.
        """
        before, form, more = head.partition(self._form)
        if not form:
            self.request_id = self._ids.fresh() if self._ids.makes else b""
            return self._parse_short(head)
        value, _, after = more.partition(_END)
        if not (is_plain(value) and len(value) <= MOST_BYTES):
            return None
        self.request_id = value
        found = self._parse_short(b"%b\r\n%b" % (before, after))
        if found is not None and self._is_alike and self.parser.keeps_heads:
            at = len(before) + len(form)
            end = at + len(value)
            generation = self.parser.generation
            self._keep(
                (before + form, _END + after, at, end, len(head), found, generation)
            )
        return found

    def _keep(self, around: _Around) -> None:
        if len(self.around) >= _MOST_AROUND:
            self.around.clear()
        *_, body_at, head, _ = around
        self.around[body_at + head.length] = around

    def __call__(self, head: bytes) -> Head | None:
        """Return what a head says, unless its request is unusual."""
        return self._heads(self._rest_of(head))

    def short_for(self, head: bytes) -> ParseHead:
        """Return what parses short heads like this one: `short`, from now on."""
        parse = self._heads.short_for(self._rest_of(head))
        if parse is not None:
            self._parse_short = parse
            self._is_alike = False
        return self.short

    def read(self, head: bytes) -> Head | None:
        """Return what a head says, which others may not have in common with it."""
        return self._heads.read(self._rest_of(head))

    def _rest_of(self, head: bytes) -> bytes:
        found = find(head)
        if found is None:
            self.request_id = self._ids.of(())
            return head
        self._form = found.form
        self.request_id = self._ids.of([found.value])
        return found.rest


def is_plain(value: bytes) -> bool:
    """Whether a value is like nearly all ids: no space, and nothing unusual."""
    return value.isalnum() or (value != b"" and not value.translate(None, PLAIN))


class IdentifiedReader(Reader):
    """A Reader of requests with ids."""

    def __init__(self, heads: IdentifiedHeads, limits: HttpLimits) -> None:
        super().__init__(heads, limits)
        self._heads = heads

    def read_one(self, data: bytes) -> CompleteRequest | None:
        """Return the request that these bytes are; see Reader.

        PERF: requests of one size are alike, as a rule, in all but ids and bodies.
        """
        heads = self._heads
        around = heads.around.get(len(data), _NOTHING)
        before, after, at, end, body_at, head, generation = around
        if data.startswith(before) and data.startswith(after, end):
            value = data[at:end]
            is_valid = value.isalnum() or not value.translate(None, PLAIN)
            if is_valid and generation == heads.parser.generation:
                heads.request_id = value
                return head, data[body_at:]
        return super().read_one(data)
