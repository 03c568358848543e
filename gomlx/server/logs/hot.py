"""The hot protocol with an access log."""

from functools import partial
from time import perf_counter

from gomlx.errors import GomlxError
from gomlx.server.http.connections import Connections
from gomlx.server.http.head import Head
from gomlx.server.http.ids.field import RequestIds
from gomlx.server.http.ids.protocol import IdentifyingProtocol
from gomlx.server.http.protocol import ConnectionState, HotProtocol
from gomlx.server.logs.access import Access, AccessRecorder
from gomlx.server.predict.reply import Reply

_ANSWERING = ConnectionState.ANSWERING
# PERF: super() makes an object for each call
_reply = HotProtocol.reply
_reply_identified = IdentifyingProtocol.reply


class LoggedProtocol(HotProtocol):
    """One connection of HTTP/1.1 whose requests are in the access log."""

    def __init__(self, access: AccessRecorder, connections: Connections) -> None:
        super().__init__(connections)
        self._access = access

    def reply(self, reply: Reply, request_id: bytes = b"") -> None:
        """Send the answer, and begin the next request."""
        access = self._access
        access.gap -= 1
        if access.gap < 0 and self._state is _ANSWERING:
            _record(access, self, reply)
        _reply(self, reply, request_id)

    def _refuse(self, error: GomlxError, request_id: bytes = b"") -> None:
        _record_refusal(self._access, self, error)
        super()._refuse(error, request_id)


class LoggedIdentifyingProtocol(IdentifyingProtocol):
    """One whose requests have ids, too."""

    def __init__(
        self, access: AccessRecorder, ids: RequestIds, connections: Connections
    ) -> None:
        super().__init__(ids, connections)
        self._access = access

    def reply(self, reply: Reply, request_id: bytes = b"") -> None:
        """Send the answer, and begin the next request."""
        access = self._access
        access.gap -= 1
        if access.gap < 0 and self._state is _ANSWERING:
            _record(access, self, reply)
        _reply_identified(self, reply, request_id)

    def _refuse(self, error: GomlxError, request_id: bytes = b"") -> None:
        _record_refusal(self._access, self, error)
        super()._refuse(error, request_id)


def _record(access: AccessRecorder, connection: HotProtocol, reply: Reply) -> None:
    """Log a request that was chosen, and is about to be answered."""
    access.chosen()
    head = connection.head
    seconds = perf_counter() - connection.arrived
    called = connection.request_id
    make = partial(access_of, connection.address, head, reply, seconds, called)
    access.record(make, len(head.query or ""))


def _record_refusal(
    access: AccessRecorder, connection: HotProtocol, error: GomlxError
) -> None:
    """Log a request that is refused before it has arrived, if it is chosen."""
    access.gap -= 1
    if access.gap < 0:
        access.chosen()
        made = Access(connection.address, "", "", error.status, 0, 0.0)
        access.record(lambda: made)


def access_of(
    address: str, head: Head, reply: Reply, seconds: float, request_id: str
) -> Access:
    """Return a request for a hot route, and its reply, for the access log."""
    model, _, signature = head.model.partition(":")
    target = f"/v1/api/model/{model}/eval"
    if head.query is not None:
        target += f"?{head.query}"
    elif signature:
        target += f"?signature={signature}"
    return Access(
        address,
        "POST" if head.query is None else "GET",
        target,
        reply.status,
        len(reply.body),
        seconds,
        head.model,
        reply.cache_status,
        request_id,
        head.client,
    )
