"""The hot protocol for a connection whose requests have ids.

A connection begins without them, and goes on here from its first X-Request-Id: others
do not look for it.
"""

from gomlx.errors import GomlxError
from gomlx.server.http.connections import Connections
from gomlx.server.http.head import HeadParser, ParsesHeads
from gomlx.server.http.ids.field import RequestIds
from gomlx.server.http.ids.heads import IdentifiedHeads, IdentifiedReader
from gomlx.server.http.protocol import HotProtocol
from gomlx.server.http.reader import ReaderState
from gomlx.server.predict.reply import Reply

_reply = HotProtocol.reply  # PERF: super() makes an object for each call
_OF_A_REQUEST = (ReaderState.BODY, ReaderState.CROWDED)


class IdentifyingProtocol(HotProtocol):
    """One connection of HTTP/1.1 whose answers have the ids of their requests."""

    def __init__(self, ids: RequestIds, connections: Connections) -> None:
        self._heads = IdentifiedHeads(connections.parse, ids)
        super().__init__(connections)
        self._reader = IdentifiedReader(self._heads, connections.limits)

    @property
    def request_id(self) -> str:
        """The id of the request that is being answered."""
        return self._heads.request_id.decode()

    def reply(self, reply: Reply, request_id: bytes = b"") -> None:
        """Send the answer, and begin the next request."""
        _reply(self, reply, self._heads.request_id)

    def _heads_of(self, parser: HeadParser) -> ParsesHeads:
        self._heads.use(parser)
        return self._heads

    def _refuse(self, error: GomlxError, request_id: bytes = b"") -> None:
        # Else the request whose head was parsed last is answered already.
        if self._reader.state in _OF_A_REQUEST:
            request_id = self._heads.request_id
        super()._refuse(error, request_id)

    def _identifying(self, rest: bytes) -> None:
        """Others are asked next: what this cannot parse, nor can another one."""
