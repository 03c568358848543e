"""The shared tier as a client reads it: bounded in time, left alone when it fails."""

import asyncio
import logging
from collections.abc import Sequence

from gomlx.cache.breaker import Breaker
from gomlx.cache.tier import SharedTier
from gomlx.errors import TierFailed

log = logging.getLogger("gomlx.client")


class Shared:
    """For one event loop. It only reads: servers write what they have computed."""

    def __init__(self, tier: SharedTier, seconds: float) -> None:
        self._tier, self._seconds = tier, seconds
        self._breaker = Breaker()

    async def get_many(self, names: Sequence[bytes]) -> Sequence[bytes | None]:
        """Return each name's value; None for what is not known in time."""
        if not self._breaker.allows():
            return [None] * len(names)
        try:
            async with asyncio.timeout(self._seconds):
                values = await self._tier.get_many(names)
        except (TierFailed, TimeoutError) as error:
            log.warning("shared tier: %s", str(error) or "no answer in time")
            self._breaker.failed()
            return [None] * len(names)
        except asyncio.CancelledError:
            self._breaker.failed()
            raise
        self._breaker.succeeded()
        return values

    async def close(self) -> None:
        """Let go of connections."""
        try:
            await self._tier.close()
        except TierFailed as error:
            log.debug("shared tier: %s", error)
