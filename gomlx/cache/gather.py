"""What many ask for at about the same time, as one command after another."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")
_GRACE_TURNS = 3


class Gather(Generic[Result]):
    """For one thread: the event loop's.

    run is called with the names of one turn of the event loop, or of all turns while
    an earlier call was under way: a slow command is not met with more of them. It may
    not raise, and has to end soon. start runs a coroutine as a task.
    """

    def __init__(
        self,
        run: Callable[[list[bytes]], Awaitable[Mapping[bytes, Result] | None]],
        start: Callable[[Any], asyncio.Task[Any]],
    ) -> None:
        self._run, self._start = run, start
        self._names: dict[bytes, None] = {}
        self._next: asyncio.Task[Mapping[bytes, Result] | None] | None = None
        self._last: asyncio.Task[Any] | None = None

    async def ask(self, names: Collection[bytes]) -> Mapping[bytes, Result] | None:
        """Return run's outcome for these names, and for others; None if it has none."""
        self._names.update(dict.fromkeys(names))
        if self._next is None:
            self._next = self._start(self._after(self._last))
            self._last = self._next
        return await asyncio.shield(self._next)

    async def _after(
        self, last: asyncio.Task[Any] | None
    ) -> Mapping[bytes, Result] | None:
        if last and not last.done():
            await asyncio.wait((last,))
        names, self._names, self._next = list(self._names), {}, None
        return await self._run(names)


async def ends_within(seconds: float, outcome: asyncio.Future[Any]) -> bool:
    """True when an outcome is there in time; it goes on in any case."""
    await asyncio.wait((outcome,), timeout=seconds)
    for _ in range(_GRACE_TURNS):
        # The answer may be there already, unread because the loop was busy.
        if outcome.done():
            return True
        await asyncio.sleep(0)
    return outcome.done()
