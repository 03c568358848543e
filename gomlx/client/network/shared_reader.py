"""The shared tier as a client reads it: for a short time, and not while it fails."""

import asyncio
import logging
from collections.abc import Sequence

from gomlx.cache.breaker import Breaker
from gomlx.cache.tier import SharedTier
from gomlx.errors import TierFailed

log = logging.getLogger("gomlx.client")


class SharedReader:
    """Reads a shared tier, which services write to. For one event loop.

    Names that are looked up in one turn of the loop share one command.
    """

    def __init__(self, tier: SharedTier, timeout_seconds: float) -> None:
        self._tier = tier
        self._timeout_seconds = timeout_seconds
        self._breaker = Breaker()
        self._names: list[bytes] = []
        self._turn: asyncio.Task[dict[bytes, bytes | None]] | None = None

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return each name's value; None if it is not there, or not in time."""
        self._names.extend(names)
        if self._turn is None:
            self._turn = asyncio.create_task(self._look_up())
        found = await asyncio.shield(self._turn)
        return [found.get(name) for name in names]

    async def _look_up(self) -> dict[bytes, bytes | None]:
        names = self._names
        self._names = []
        self._turn = None
        if not self._breaker.allows():
            return {}
        try:
            async with asyncio.timeout(self._timeout_seconds):
                values = await self._tier.get_many(names)
        except (TierFailed, TimeoutError) as error:
            log.warning("shared tier: %s", str(error) or "no answer in time")
            self._breaker.failed()
            return {}
        except asyncio.CancelledError:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return dict(zip(names, values, strict=True))

    async def close(self) -> None:
        """Close its connections."""
        try:
            await self._tier.close()
        except TierFailed as error:
            log.debug("shared tier: %s", error)
