"""Work of which one is done at a time, for all who ask meanwhile."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

Result = TypeVar("Result")


class SharedWork(Generic[Result]):
    """Work that takes a thread for milliseconds, such as a scrape. For the event loop.

    Who asks while it is done shares the next one with all others who do: its result is
    never older than a request. do: called again and again, never twice at a time.
    """

    def __init__(self, do: Callable[[], Awaitable[Result]]) -> None:
        self._do = do
        self._last: asyncio.Task[Result] | None = None
        self._next: asyncio.Task[Result] | None = None

    async def result(self) -> Result:
        """Return the result of work that begins now, or when the last one has ended."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._last))
        return await asyncio.shield(self._next)

    async def _after(self, last: "asyncio.Task[Result] | None") -> Result:
        if last is not None:
            with suppress(Exception):  # is for those who wait for it
                await asyncio.shield(last)
        self._last = self._next
        self._next = None
        return await self._do()
