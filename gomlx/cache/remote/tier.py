"""A shared tier as one worker uses it: bounded in time and memory.

lookups   counted, validated, until a deadline
polls     for answers that other processes are about to write
leases    who may compute a key
writes    behind, from a bounded queue
worth     which models the tier costs more than it saves
"""

import time
from collections.abc import Callable, Sequence

from gomlx.cache.breaker import BreakerState
from gomlx.cache.remote.commands import Commands, completes_within
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.health import TierHealth
from gomlx.cache.remote.leases import TierLeases
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.lookups import FindsNames, Lookups, Polls
from gomlx.cache.remote.validation import Validator
from gomlx.cache.remote.worth import Worth, lookup_cpu_seconds
from gomlx.cache.remote.writebehind import WriteBehind
from gomlx.cache.tier import SharedTier, TierUsage
from gomlx.errors import TierFailed

_CONNECT_SECONDS = 0.25  # a worker does not start later than that


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
        worth: Worth | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.worth = worth or Worth()
        self.health = TierHealth(f"{name}: look-ups", counts.state, clock)
        commands = Commands(name, tier, limits.deadline_seconds, self.health)
        validator = Validator(commands, limits)
        self.writes = WriteBehind(name, tier, limits, counts.writes, clock)
        queue = self.writes.queue
        self.lookups: FindsNames = Lookups(commands, validator, queue, counts)
        self.polls = Polls(commands, validator)
        self.leases = TierLeases(commands)
        self._commands = commands
        self._validator = validator

    async def remaining_ttl(self, names: Sequence[bytes]) -> list[float]:
        """Return each value's seconds to live; 0 if the tier does not say."""
        times = await self._commands.attempt(self._commands.tier.remaining_ttl(names))
        return [t / 1000 for t in times or [0] * len(names)]

    async def measure(self) -> bool:
        """Measure what a look-up costs, unless it has been; False if that fails.

        Nothing of it is counted, but failures may open the circuit breaker.
        """
        if self.worth.lookup_seconds:
            return True
        tasks = self._commands.tasks
        ping = tasks.start(self._commands.attempt(self._commands.tier.ping()))
        if await completes_within(_CONNECT_SECONDS, ping):
            counts = RemoteCounts.unshown()
            queue = self.writes.queue
            lookups = Lookups(self._commands, self._validator, queue, counts)
            self.worth.note_lookup(await lookup_cpu_seconds(lookups, counts.miss))
        return self.worth.lookup_seconds > 0

    async def usage(self) -> TierUsage:
        """Return how much the tier holds. Raises TierFailed."""
        if self.health.state is not BreakerState.CLOSED:
            raise TierFailed(self.health.problem)
        return await self._commands.tier.usage()

    async def close(self, timeout_seconds: float = 2) -> None:
        """Write the queue, for at most timeout_seconds, and close the tier."""
        await self.writes.close(timeout_seconds)
        await self._commands.close()
