"""Heads with an X-Request-Id: it is taken out, and the rest parsed as any other head.

No two requests have the same id, so a head with one is never among those that are kept.
What remains of it is.
"""

from gomlx.server.http.head import Head, ParseHead, ParsesHeads
from gomlx.server.http.ids.field import (
    MOST_BYTES,
    USUAL_FORM,
    RequestIds,
    find,
)

_END = b"\r\n"
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.:/+=@"


class IdentifiedHeads:
    """Parses the heads of one connection.

    request_id: of the request whose head was parsed last; b"": it has none.
    """

    def __init__(self, heads: ParsesHeads, ids: RequestIds) -> None:
        """heads: parses what remains."""
        self.request_id = b""
        self._ids = ids
        self._form = USUAL_FORM  # how the peer writes the header
        self.use(heads)

    def use(self, heads: ParsesHeads) -> None:
        """Parse what remains of further heads by another parser."""
        self._heads = heads
        self._parse_short = heads.short

    def short(self, head: bytes) -> Head | None:
        """Parse a short head whose header looks like the last one's.

        PERF: of nearly every request. A value of plain characters holds no other field,
        and no end of a line; what else there is, `read` decides.
        """
        before, form, more = head.partition(self._form)
        if not form:
            self.request_id = self._ids.fresh() if self._ids.makes else b""
            return self._parse_short(head)
        value, _, after = more.partition(_END)
        if not value.isalnum() and (value.translate(None, _PLAIN) or not value):
            return None
        if len(value) > MOST_BYTES:
            return None
        self.request_id = value
        return self._parse_short(b"%b\r\n%b" % (before, after))

    def __call__(self, head: bytes) -> Head | None:
        """Return what a head says, unless its request is unusual."""
        return self._heads(self._rest_of(head))

    def short_for(self, head: bytes) -> ParseHead:
        """Return what parses short heads like this one: `short`, from now on."""
        self._parse_short = (
            self._heads.short_for(self._rest_of(head)) or self._parse_short
        )
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
