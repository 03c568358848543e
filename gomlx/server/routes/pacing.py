"""Not more requests of Falcon's begin in a turn of the event loop than take a moment.

A connection of HTTP/2 may bring a hundred at once. Their tasks would all run in one
turn, and answer in it, half a millisecond each: timers and every other connection
would wait for all of them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

_REQUESTS_A_TURN = 16

_Asgi = Callable[..., Awaitable[None]]


class Paced:
    """An ASGI application that has another's requests begin in turns."""

    def __init__(self, app: _Asgi) -> None:
        self._app = app
        self._begun = 0  # in this turn

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        while self._begun >= _REQUESTS_A_TURN:  # noqa: ASYNC110  # a turn is awaited
            await asyncio.sleep(0)
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._begun += 1
        await self._app(scope, receive, send)

    def _end_turn(self) -> None:
        self._begun = 0
