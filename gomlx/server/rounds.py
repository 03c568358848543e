"""Work of many peers, a little in each turn of the event loop, and none goes first.

What one turn has read from a few hundred connections may keep the loop for 20 ms: hits
of other peers would wait for all of it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from time import perf_counter

log = logging.getLogger(__name__)

# Each call may wake a task of Falcon's, which then costs twice as much in this turn.
_CALLS_PER_TURN = 4
_TURN_SECONDS = 0.0005

PeerCall = Callable[[], None]


class Rounds:
    """Calls that wait for their turn: an address gets one, and then the next address.

    Those of one address are called in their order. For one thread.
    """

    def __init__(
        self,
        calls: int = _CALLS_PER_TURN,
        seconds: float = _TURN_SECONDS,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """calls, seconds: a turn has so many, and ends them after so long."""
        self._most = calls
        self._seconds = seconds
        self._clock = clock
        self._called = 0  # in this turn
        self._spent = 0.0
        self._will_renew = False
        # The address whose turn it is is the first.
        self._waiting: dict[str, deque[PeerCall]] = {}

    def call(self, address: str, call: PeerCall) -> None:
        """Call at once if nobody waits and this turn has time, or else in a later one.

        What a later one raises is logged.
        """
        if self._waiting or self._is_spent:
            self._waiting.setdefault(address, deque()).append(call)
        else:
            self._do(call)
        self._schedule()

    @property
    def _is_spent(self) -> bool:
        return self._called >= self._most or self._spent >= self._seconds

    def _do(self, call: PeerCall) -> None:
        started = self._clock()
        try:
            call()
        finally:
            self._called += 1
            self._spent += self._clock() - started

    def _schedule(self) -> None:
        if not self._will_renew:
            self._will_renew = True
            asyncio.get_running_loop().call_soon(self._renew)

    def _renew(self) -> None:
        """Begin a turn: those go first that wait."""
        self._will_renew = False
        self._called = 0
        self._spent = 0.0
        while self._waiting and not self._is_spent:
            call = self._next()
            try:
                self._do(call)
            except Exception:  # a bug of one is not another's
                log.exception("a bug at a peer's turn")
        if self._waiting or self._called:
            self._schedule()

    def _next(self) -> PeerCall:
        """Take the next call; its address then is the last one."""
        address = next(iter(self._waiting))
        calls = self._waiting.pop(address)
        call = calls.popleft()
        if calls:
            self._waiting[address] = calls
        return call
