"""The open connections of one worker that are on a protocol of ours."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Protocol

from gomlx.server.http.cors import CorsRules, as_lines
from gomlx.server.http.head import HEAD_END, may_begin_hot_request
from gomlx.server.http.ids.field import REQUEST_ID, RequestIds, without_id
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.peer import Peer
from gomlx.server.http.places import PlaceHolder, Places
from gomlx.server.http.turn import Turn
from gomlx.server.predict.predictor import Predictor
from gomlx.server.recording.heads import TracingHeadParser
from gomlx.server.rounds import Rounds

_LAST_LOOK_SECONDS = 0.1


class HotConnection(PlaceHolder, Protocol):
    """One of the open connections."""

    def check(self, now: float) -> None:
        """Close it if its time is up; called once a second."""


class GoesOn(Protocol):
    """A protocol for connections that another one of ours has begun."""

    def go_on(self, peer: Peer, rest: bytes, /) -> None:
        """Go on from what the peer has sent, and is not answered."""


@dataclass(frozen=True)
class Successors:
    """Makes the protocols that connections are handed over to.

    gunicorn: for every request. http2: for connections of HTTP/2; None: they are
    Gunicorn's, too. may_use_h2c: whether the peer with an address may use it in the
    clear. application: the ASGI application that both call. rounds: when connections
    are opened, and Gunicorn's protocols take over and read on. identifying: for
    requests of HTTP/1.1 that have an id. ids: decides which; None: none has one.
    """

    gunicorn: "Callable[[Connections], asyncio.Protocol]"
    http2: "Callable[[Connections], asyncio.Protocol] | None"
    may_use_h2c: Callable[[Any], bool]
    application: Any = None
    rounds: Rounds = field(default_factory=Rounds)
    identifying: "Callable[[Connections], GoesOn] | None" = None
    ids: RequestIds | None = None


class Connections:
    """The open connections of one worker, and what they share.

    places: of the worker's connections, handed over or not. lines: the headers that
    every response has. is_draining: the service ends soon, and answers say so.
    """

    def __init__(
        self,
        routes: dict[bytes, str],
        predictor: Predictor,
        limits: HttpLimits,
        successors: Successors,
        places: Places,
        cors: CorsRules,
    ) -> None:
        """routes: path → model. Made on the event loop."""
        self.parse = TracingHeadParser(
            routes, limits.body_bytes, limits.request_seconds, not cors.varies
        )
        if successors.ids is not None:
            self.parse.unusual |= {REQUEST_ID}
        self.limits = limits
        self.successors = successors
        self.places = places
        self.turn = Turn(predictor, asyncio.get_running_loop().call_soon)
        self.open: set[HotConnection] = set()
        self.is_draining = False
        self._cors = as_lines(cors.constant)
        self.tick(time.monotonic())

    def join(self, connection: HotConnection) -> int:
        """Note a connection; return how many the worker has."""
        self.open.add(connection)
        self.places.enter(connection)
        return self.places.count(1)

    def leave(self, connection: HotConnection) -> None:
        """Forget a connection that has ended, or goes on by another protocol."""
        self.open.discard(connection)
        self.places.leave(connection)
        self.places.count(-1)

    def tick(self, now: float) -> None:
        """Read the clock, and check every connection. Called once a second.

        now: by time.monotonic.
        """
        self.now = now
        self.lines = b"date: %b\r\n%b" % (formatdate(usegmt=True).encode(), self._cors)
        for connection in list(self.open):
            connection.check(now)

    def is_hot(self, data: bytes, names: frozenset[str]) -> bool:
        """Whether bytes begin a request for a hot route, as far as they tell.

        names: of the certificate of its client.
        """
        end = data.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END):
            return may_begin_hot_request(data)
        parser = self.parse.certified(names)
        head = without_id(data[:end]) if self.successors.ids else data[:end]
        return parser(head) is not None or parser.read(head) is not None

    def configure(self, limits: HttpLimits, is_served: Callable[[str], bool]) -> None:
        """Have other limits for new connections, and hot routes of these models."""
        self.limits = limits
        self.parse.configure(is_served, limits.body_bytes, limits.request_seconds)

    @property
    def is_stopping(self) -> bool:
        """Whether the service ends now."""
        return self.turn.predictor.stopping.is_set()

    def drain(self) -> None:
        """Close connections with their next answer, which says so."""
        self.is_draining = True

    def stop(self) -> None:
        """Close every connection as soon as all its requests are answered."""
        self.is_draining = True
        self.turn.predictor.stopping.set()
        self._end_idle()

    def _end_idle(self) -> None:
        self.tick(time.monotonic())
        if self.open:
            asyncio.get_running_loop().call_later(_LAST_LOOK_SECONDS, self._end_idle)
