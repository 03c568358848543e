"""Bounds how long one kind of work keeps the event loop in a turn.

Many connections may have work at once, a little each: timers, and the requests of every
other connection, would wait for all of it.
"""

import asyncio
from collections import deque

_TURN_SECONDS = 0.002


class Pace:
    """The time that work of one kind may take in a turn, all of it together.

    is_spent: whether it has taken that.
    """

    def __init__(self, seconds: float = _TURN_SECONDS) -> None:
        """seconds: a turn has for the work."""
        self.is_spent = False
        self._seconds = seconds
        self._spent = 0.0  # in this turn
        self._will_renew = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def spend(self, seconds: float) -> None:
        """Count work that has been done."""
        self._spent += seconds
        self.is_spent = self._spent >= self._seconds
        self._schedule()

    async def turn(self) -> None:
        """Wait for a turn that has time: one that waits gets each of them."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._schedule()
        await turn

    def _schedule(self) -> None:
        if not self._will_renew:
            self._will_renew = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        self._will_renew = False
        self.is_spent = False
        self._spent = 0.0
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # not cancelled
                turn.set_result(None)
                break
        if self._waiting:
            self._schedule()
