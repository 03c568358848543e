"""The hot protocol with an access log."""

from functools import partial
from time import perf_counter

from gomlx.errors import GomlxError
from gomlx.server.http.connections import Connections
from gomlx.server.http.head import Head
from gomlx.server.http.protocol import ConnectionState, HotProtocol
from gomlx.server.logs.access import Access, AccessRecorder
from gomlx.server.predict.reply import Reply

_ANSWERING = ConnectionState.ANSWERING
_reply = HotProtocol.reply  # PERF: super() makes an object for each call


class LoggedProtocol(HotProtocol):
    """One connection of HTTP/1.1 whose requests are in the access log."""

    def __init__(self, access: AccessRecorder, connections: Connections) -> None:
        super().__init__(connections)
        self._access = access

    def reply(self, reply: Reply) -> None:
        """Send the answer, and begin the next request."""
        if self._state is _ANSWERING:
            access = self._access
            access.gap -= 1
            if access.gap < 0:
                access.chosen()
                seconds = perf_counter() - self.arrived
                head = self.head
                make = partial(access_of, self.address, head, reply, seconds)
                access.record(make, len(head.query or ""))
        _reply(self, reply)

    def _refuse(self, error: GomlxError) -> None:
        access = self._access
        access.gap -= 1
        if access.gap < 0:
            access.chosen()
            made = Access(self.address, "", "", error.status, 0, 0.0)
            access.record(lambda: made)
        super()._refuse(error)


def access_of(address: str, head: Head, reply: Reply, seconds: float) -> Access:
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
    )
