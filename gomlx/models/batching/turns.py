"""The turns of the event loop, as a batcher sees them."""

import asyncio
from collections.abc import Callable
from typing import Protocol


class Turns(Protocol):
    """Calls back at the end of turns.

    brought: how many requests this turn has, for whatever model, hits or misses.
    """

    brought: int

    def call_at_end(self, callback: Callable[[], None], /) -> None:
        """Have a callback called at the end of this turn, or of the next one."""


class LoopTurns:
    """Every turn of the running event loop; what they bring is not known."""

    brought = 0

    def call_at_end(self, callback: Callable[[], None]) -> None:
        asyncio.get_running_loop().call_soon(callback)
