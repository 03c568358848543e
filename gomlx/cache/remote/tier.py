"""A shared tier as one worker uses it: bounded in time and memory.

lookups   counted, validated, until a deadline
polls     for answers that other processes are about to write
leases    who may compute a key
writes    behind, from a bounded queue
"""

import time
from collections.abc import Callable, Sequence

from gomlx.cache.remote.commands import Commands
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.health import TierHealth
from gomlx.cache.remote.leases import TierLeases
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.lookups import Lookups, Polls
from gomlx.cache.remote.validation import Validator
from gomlx.cache.remote.writebehind import WriteBehind
from gomlx.cache.tier import SharedTier


class Remote:
    """One shared tier as a worker uses it: look-ups, write-behind and leases.

    health: that of all commands but writes. For one thread: the event loop's.
    """

    def __init__(
        self,
        name: str,
        tier: SharedTier,
        limits: TierLimits,
        counts: RemoteCounts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.health = TierHealth(f"{name}: look-ups", counts.state, clock)
        commands = Commands(name, tier, limits.deadline_seconds, self.health)
        validator = Validator(commands, limits)
        self.writes = WriteBehind(name, tier, limits, counts.writes, clock)
        self.lookups = Lookups(commands, validator, self.writes.queue, counts)
        self.polls = Polls(commands, validator)
        self.leases = TierLeases(commands)
        self._commands = commands

    async def remaining_ttl(self, names: Sequence[bytes]) -> list[float]:
        """Return each value's seconds to live; 0 if the tier does not say."""
        times = await self._commands.attempt(self._commands.tier.remaining_ttl(names))
        return [t / 1000 for t in times or [0] * len(names)]

    async def close(self, timeout_seconds: float = 2) -> None:
        """Write the queue, for at most timeout_seconds, and close the tier."""
        await self.writes.close(timeout_seconds)
        await self._commands.close()
