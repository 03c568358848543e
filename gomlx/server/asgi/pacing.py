"""Bounds how many requests of Falcon's start in one turn of the event loop.

A connection of HTTP/2 may bring a hundred requests at once. Their tasks would all run
in one turn, and answer in it, half a millisecond each: timers and every other
connection would wait for all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

_REQUESTS_PER_TURN = 16

_Asgi = Callable[..., Awaitable[None]]


class PacedApp:
    """An ASGI application that passes few requests a turn on to another one."""

    def __init__(self, app: _Asgi, per_turn: int = _REQUESTS_PER_TURN) -> None:
        self._app = app
        self._per_turn = per_turn
        self._started = 0  # in this turn

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while self._started >= self._per_turn:  # noqa: ASYNC110  # a turn is awaited
            await asyncio.sleep(0)
        if not self._started:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._started += 1
        await self._app(scope, receive, send)

    def _end_turn(self) -> None:
        self._started = 0
