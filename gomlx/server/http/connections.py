"""The connections of one worker that are on the hot protocol, as a whole."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from time import perf_counter
from typing import TYPE_CHECKING

from gomlx.server.http.head import HeadParser
from gomlx.server.http.limits import HttpLimits
from gomlx.server.predict.predictor import Predictor

if TYPE_CHECKING:
    from gomlx.server.http.protocol import HotProtocol

log = logging.getLogger(__name__)


_REQUESTS_A_TURN, _BYTES_A_TURN = 128, 1 << 17  # to be answered: some milliseconds


class Connections:
    """The connections of one worker that are still on the hot protocol.

    hand_over makes the protocol that takes one over; count is told of each one that
    comes (1) and goes (-1), and returns how many there are, handed over or not.
    """

    def __init__(
        self,
        routes: Mapping[bytes, str],
        predictor: Predictor,
        limits: HttpLimits,
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
        self._asked: list[HotProtocol] = []
        self._now = 0.0  # when the first of this turn's had come
        self._unsent: list[HotProtocol] = []
        self._is_ending = False  # this turn: it is scheduled
        self.tick()

    def ask(self, connection: "HotProtocol") -> None:
        """Have a connection's request answered at the end of this turn of the loop.

        PERF: what was read from all connections is answered together, and then sent:
        each step for all before the next (ARCHITECTURE.md).
        """
        if not self._now:  # PERF: once a turn
            self._now = perf_counter()
        connection.arrived = self._now
        self._asked.append(connection)
        self._end_soon()

    def leave(self, connection: "HotProtocol") -> None:
        """Forget what a connection has asked: its peer has gone."""
        if connection.pending:
            self.predictor.abandon(connection.pending)
        elif connection in self._asked:
            self._asked.remove(connection)
            seconds = perf_counter() - connection.arrived
            self.predictor.count_abandoned(connection.model, seconds)

    def will_send(self, connection: "HotProtocol") -> None:
        """Have a connection's answers sent at the end of this turn."""
        self._unsent.append(connection)
        self._end_soon()

    def send(self) -> None:
        """Send what has been answered.

        Called after each run of a model: the peers then ask again together, and the
        next run has all of their rows, not half of them.
        """
        unsent, self._unsent = self._unsent, []
        for connection in unsent:
            connection.send()

    def _end_soon(self) -> None:
        if not self._is_ending:
            self._is_ending = True
            self._loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Answer what was asked, and what comes next in pipelines; then send.

        Not more than takes a moment: timers and the models' threads wait meanwhile.
        """
        requests, size = 0, 0
        try:
            while self._asked and requests < _REQUESTS_A_TURN and size < _BYTES_A_TURN:
                asked: list[HotProtocol] = []
                for connection in self._asked[: _REQUESTS_A_TURN - requests]:
                    asked.append(connection)
                    size += len(connection.text)
                    if size >= _BYTES_A_TURN:
                        break
                del self._asked[: len(asked)]
                requests += len(asked)
                self._ask(asked)
            self.answered += requests
        finally:
            self._is_ending, self._now = False, 0.0
            if self._asked:
                self._end_soon()
            self.send()

    def _ask(self, asked: Sequence["HotProtocol"]) -> None:
        by_model: dict[str, list[HotProtocol]] = {}
        for connection in asked:
            by_model.setdefault(connection.model, []).append(connection)
        for model, requesters in by_model.items():
            try:
                self.predictor.predict(model, requesters)
            except Exception as error:  # one model's bug is not another's
                log.error("model %s: a bug", model, exc_info=error)
                for connection in requesters:
                    connection.fail()

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
