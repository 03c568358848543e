"""Pools of connections that are replaced before they are old: hosts may be added."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random
from typing import Generic, TypeVar

from gomlx.errors import ConnectionFailed
from gomlx.runtime.randomness import RANDOM

T = TypeVar("T")


class _Generation(Generic[T]):
    """A pool, when it is replaced, and how many requests use it."""

    def __init__(self, pool: T, expires_at: float) -> None:
        self.pool = pool
        self.expires_at = expires_at
        self.requests = 0  # under way


class Generations(Generic[T]):
    """Pools of connections, one after the other. For one event loop.

    After `seconds`, less up to a tenth, new requests use a new pool; the old one
    is closed when its last request has ended. make and close: how to open and to close
    a pool.
    """

    def __init__(
        self,
        make: Callable[[], T],
        close: Callable[[T], Awaitable[None]],
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        random: Random = RANDOM,
    ) -> None:
        self._make = make
        self._close = close
        self._seconds = seconds
        self._clock = clock
        self._random = random
        self._current: _Generation[T] | None = None
        self._is_closed = False

    @asynccontextmanager
    async def pool(self) -> AsyncIterator[T]:
        """Lend the current pool. Raises ConnectionFailed after close."""
        if self._is_closed:  # a retry of a request that closing has broken
            raise ConnectionFailed("the client is closed")
        current = self._current
        if current is None or current.expires_at < self._clock():
            current = await self._replace(current)
        current.requests += 1
        try:
            yield current.pool
        finally:
            current.requests -= 1
            if current is not self._current and not current.requests:
                await self._close(current.pool)

    async def close(self) -> None:
        """Close all connections."""
        self._is_closed = True
        current = self._current
        self._current = None
        if current:
            await self._close(current.pool)

    async def _replace(self, old: _Generation[T] | None) -> _Generation[T]:
        # A little earlier at random, so that a fleet does not reconnect at one moment.
        seconds = self._seconds * self._random.uniform(0.9, 1)
        new = _Generation(self._make(), self._clock() + seconds)
        self._current = new
        if old and not old.requests:
            await self._close(old.pool)
        return new
