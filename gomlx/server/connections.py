"""The connections of one worker that are on the hot protocol, as a whole."""

import asyncio
from collections.abc import Callable, Mapping
from email.utils import formatdate
from typing import TYPE_CHECKING

from gomlx.server.head import HeadParser
from gomlx.server.limits import Limits
from gomlx.server.predict import Predictor

if TYPE_CHECKING:
    from gomlx.server.protocol import HotProtocol


class Connections:
    """The connections of one worker that are still on the hot protocol.

    hand_over makes the protocol that takes one over; count is told of each one that
    comes (1) and goes (-1), and returns how many there are, handed over or not.
    """

    def __init__(
        self,
        routes: Mapping[bytes, str],
        predictor: Predictor,
        limits: Limits,
        hand_over: Callable[[], asyncio.Protocol],
        count: Callable[[int], int],
    ) -> None:
        self.parse = HeadParser(routes, limits.body_bytes, limits.request_seconds)
        self.predictor, self.limits = predictor, limits
        self.hand_over, self.count = hand_over, count
        self.open: set[HotProtocol] = set()
        self.is_stopping = False
        self.answered = 0  # requests
        self._loop = asyncio.get_running_loop()
        self._unsent: list[HotProtocol] = []
        self.is_sending = False  # at the end of this turn of the loop
        self.tick()

    def begin_turn(self) -> None:
        """Have what is answered in this turn of the loop sent at its end.

        PERF: to write wakes the peer's process and drives our code out of the caches,
        so all of a turn's requests are answered first (ARCHITECTURE.md). Called
        before a request is read: its answers then precede the runs of its misses.
        """
        if not self.is_sending:
            self.is_sending = True
            self._loop.call_soon(self._end_turn)

    def will_send(self, connection: "HotProtocol") -> None:
        """Have a connection's answers sent at the end of this turn."""
        self._unsent.append(connection)
        self.begin_turn()

    def send(self) -> None:
        """Send what has been answered.

        Called after each run of a model: the peers then ask again together, and the
        next run has all of their rows, not half of them.
        """
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.send()

    def _end_turn(self) -> None:
        self.is_sending = False
        self.send()

    def tick(self) -> None:
        """Once a second: the time, and the connections whose time is up."""
        self.now = self._loop.time()
        self.date = f"date: {formatdate(usegmt=True)}\r\n".encode()
        for connection in list(self.open):
            connection.check(self.now)

    def stop(self) -> None:
        """Close every connection as soon as it owes no answer."""
        self.is_stopping = True
        self.predictor.stopping.set()
        self.tick()
