"""Connections that are replaced before they grow old: hosts may be added meanwhile."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Generic, TypeVar

from gomlx.errors import ConnectionFailed

_RANDOM = Random()  # whoever seeds the program's own must not have us agree

T = TypeVar("T")


class _Generation(Generic[T]):
    """Connections that were opened in the same span of time."""

    def __init__(self, pool: T, until: float) -> None:
        self.pool, self.until = pool, until
        self.requests = 0  # under way


class Generations(Generic[T]):
    """Pools of connections, one after the other. For one event loop.

    After so many seconds, less up to a tenth, new requests use a new pool, and the old
    one is closed when it owes no answer.
    """

    def __init__(
        self,
        opened: Callable[[], T],
        closed: Callable[[T], Awaitable[None]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opened, self._closed = opened, closed
        self._seconds, self._clock = seconds, clock
        self._current: _Generation[T] | None = None
        self._is_closed = False

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[T]:
        """Lend the pool of the moment. Raises ConnectionFailed after close."""
        if self._is_closed:  # a retry of what closing has broken
            raise ConnectionFailed("the client is closed")
        current = self._current
        if current is None or current.until < self._clock():
            # Not all of a fleet at the same moment.
            until = self._clock() + self._seconds * _RANDOM.uniform(0.9, 1)
            old, current = current, _Generation(self._opened(), until)
            self._current = current
            if old and not old.requests:
                await self._closed(old.pool)
        current.requests += 1
        try:
            yield current.pool
        finally:
            current.requests -= 1
            if current is not self._current and not current.requests:
                await self._closed(current.pool)

    async def close(self) -> None:
        """Let go of all connections."""
        self._is_closed = True
        current, self._current = self._current, None
        if current:
            await self._closed(current.pool)
