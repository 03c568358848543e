"""Leases on names in a shared tier."""

from collections.abc import Collection, Mapping
from functools import partial

from gomlx.cache.remote.commands import Commands
from gomlx.cache.remote.joiner import CommandJoiner


class TierLeases:
    """Acquires and releases leases in one shared tier, many with one command.

    For one thread: the event loop's.
    """

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        # By the milliseconds that a lease lasts: about one for each model.
        self._joiners: dict[int, CommandJoiner[bool]] = {}

    async def acquire(
        self, names: Collection[bytes], lease_seconds: float
    ) -> list[bool] | None:
        """Return for each name whether its lease is ours now.

        None when the tier does not say so by its deadline.
        """
        milliseconds = max(1, int(lease_seconds * 1000))
        if milliseconds not in self._joiners:
            run = partial(self._acquire, milliseconds)
            self._joiners[milliseconds] = CommandJoiner(run, self._commands.tasks)
        acquired = await self._joiners[milliseconds].submit(names)
        return None if acquired is None else [acquired[name] for name in names]

    def release(self, names: Collection[bytes]) -> None:
        """Give leases back."""
        self._commands.delete(list(names))

    async def _acquire(
        self, milliseconds: int, names: list[bytes]
    ) -> Mapping[bytes, bool] | None:
        command = self._commands.tier.acquire(names, milliseconds)
        return await self._commands.bounded(names, command)
