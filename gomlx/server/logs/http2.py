"""The hot routes over HTTP/2 with an access log."""

from collections.abc import Sequence
from functools import partial
from time import perf_counter

from gomlx.server.http.http2.engine import Header
from gomlx.server.http.http2.requests import Http2Routes, Requests, RequestsOwner
from gomlx.server.http.http2.stream import HotStream
from gomlx.server.logs.access import AccessRecorder
from gomlx.server.logs.hot import access_of
from gomlx.server.predict.reply import Reply

_respond = Requests.respond  # PERF: super() makes an object for each call


class LoggedRequests(Requests):
    """The streams of one connection of HTTP/2; the hot ones are in the access log."""

    def __init__(
        self, access: AccessRecorder, owner: RequestsOwner, routes: Http2Routes
    ) -> None:
        super().__init__(owner, routes)
        self._access = access

    def respond(
        self, stream: HotStream, reply: Reply, more: Sequence[Header] = ()
    ) -> None:
        """Send a reply, if the stream still waits for one."""
        access = self._access
        access.gap -= 1
        if access.gap < 0 and stream.number in self.streams:
            self._record(stream, reply)
        _respond(self, stream, reply, more)

    def _record(self, stream: HotStream, reply: Reply) -> None:
        access = self._access
        access.chosen()
        address = self._owner.peer.address
        # 0: it is refused before it has arrived.
        seconds = perf_counter() - stream.arrived if stream.arrived else 0.0
        head = stream.head
        called = stream.request_id
        make = partial(access_of, address, head, reply, seconds, called)
        access.record(make, len(head.query or ""))
