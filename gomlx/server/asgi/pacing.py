"""Bounds how many requests of Falcon's start in one turn of the event loop.

A connection of HTTP/2 may bring a hundred requests at once. Their tasks would all run
in one turn, and answer in it, half a millisecond each: timers and every other
connection would wait for all of them. Those that wait start in their order.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

_REQUESTS_PER_TURN = 4

_Asgi = Callable[..., Awaitable[None]]


class PacedApp:
    """An ASGI application that passes few requests a turn on to another one."""

    def __init__(self, app: _Asgi, per_turn: int = _REQUESTS_PER_TURN) -> None:
        self._app = app
        self._per_turn = per_turn
        self._started = 0  # in this turn
        self._will_end_turn = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def pass_to(self, app: _Asgi) -> None:
        """Have another application answer from now on."""
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._started >= self._per_turn:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        else:
            self._started += 1
            self._schedule()
        await self._app(scope, receive, send)

    def _schedule(self) -> None:
        if not self._will_end_turn:
            self._will_end_turn = True
            asyncio.get_running_loop().call_soon(self._end_turn)

    def _end_turn(self) -> None:
        """Let the next ones start that wait; others wait behind them."""
        self._will_end_turn = False
        self._started = 0
        while self._waiting and self._started < self._per_turn:
            turn = self._waiting.popleft()
            if not turn.done():  # not cancelled
                turn.set_result(None)
                self._started += 1
        if self._started:
            self._schedule()
