"""Commands to a shared tier: no caller waits for one after its deadline.

A late command is not cancelled, since its connection would be lost with it: a
connection that takes long to make is made once.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

from gomlx.cache.breaker import BreakerState
from gomlx.cache.remote.health import TierHealth
from gomlx.cache.tasks import Tasks
from gomlx.cache.tier import SharedTier
from gomlx.errors import TierFailed

log = logging.getLogger(__name__)

Result = TypeVar("Result")
_GRACE_TURNS = 3


class Commands:
    """A tier, its deadline, and whether it works. For one thread: the event loop's."""

    def __init__(
        self, name: str, tier: SharedTier, deadline_seconds: float, health: TierHealth
    ) -> None:
        self.name = name
        self.tier = tier
        self.deadline_seconds = deadline_seconds
        self.health = health
        self.tasks = Tasks()

    async def bounded(
        self, names: Sequence[bytes], command: Coroutine[Any, Any, Sequence[Result]]
    ) -> Mapping[bytes, Result] | None:
        """Return each name's result; None if there are none by the deadline."""
        if self.health.state is not BreakerState.CLOSED:
            command.close()
            return None
        task = self.tasks.start(_outcome(command))
        if not await completes_within(self.deadline_seconds, task):
            self.health.failed("no answer in time")
            return None
        outcome = task.result()
        if isinstance(outcome, TierFailed):
            self.health.failed(str(outcome))
            return None
        return dict(zip(names, outcome, strict=True))

    async def attempt(self, command: Coroutine[Any, Any, Result]) -> Result | None:
        """Return a command's result; None if it fails, which is only logged."""
        try:
            return await command
        except TierFailed as error:
            log.debug("%s: %s", self.name, error)
            return None

    def delete(self, names: Sequence[bytes]) -> None:
        """Have values deleted, if the tier can be reached."""
        self.tasks.start(self.attempt(self.tier.delete(names)))

    async def close(self) -> None:
        """Cancel what runs, and close the tier."""
        self.tasks.cancel()
        await self.attempt(self.tier.close())


async def completes_within(seconds: float, outcome: asyncio.Future[Any]) -> bool:
    """Return True when an outcome is there in time; it is not cancelled otherwise."""
    await asyncio.wait((outcome,), timeout=seconds)
    for _ in range(_GRACE_TURNS):
        # The reply may be there already, unread because the loop was busy.
        if outcome.done():
            return True
        await asyncio.sleep(0)
    return outcome.done()


async def _outcome(command: Coroutine[Any, Any, Result]) -> Result | TierFailed:
    try:
        return await command
    except TierFailed as error:
        return error
