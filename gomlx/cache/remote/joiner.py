"""Joins the names of concurrent callers into one command after another."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, TypeVar

from gomlx.cache.tasks import Tasks

Result = TypeVar("Result")
RunKeys = Callable[[list[bytes]], Awaitable[Mapping[bytes, Result] | None]]


class CommandJoiner(Generic[Result]):
    """Runs one command at a time. For one thread: the event loop's.

    run is called with the names of one turn of the event loop, or of all turns while
    the previous command ran: a slow tier is not met with more commands. It may not
    raise, and has to end soon.
    """

    def __init__(self, run: RunKeys[Result], tasks: Tasks) -> None:
        self._run = run
        self._tasks = tasks
        self._names: dict[bytes, None] = {}
        self._next: asyncio.Task[Mapping[bytes, Result] | None] | None = None
        self._last: asyncio.Task[Mapping[bytes, Result] | None] | None = None

    async def submit(self, names: Collection[bytes]) -> Mapping[bytes, Result] | None:
        """Return run's outcome for these names and others; None if it has none."""
        self._names.update(dict.fromkeys(names))
        if self._next is None:
            self._next = self._tasks.start(self._run_after(self._last))
            self._last = self._next
        return await asyncio.shield(self._next)

    async def _run_after(
        self, last: asyncio.Task[Mapping[bytes, Result] | None] | None
    ) -> Mapping[bytes, Result] | None:
        if last and not last.done():
            await asyncio.wait((last,))
        names = list(self._names)
        self._names = {}
        self._next = None
        return await self._run(names)
