"""One running computation per key among many processes.

The process that acquires a key's lease computes it; the others poll for its answer.
Waiting is bounded by a deadline, after which each computes for itself.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection

from gomlx.cache.leases import Leases
from gomlx.cache.tier import Hit, Namespace, OnFound

_FIRST_POLL_SECONDS = 0.002
_LAST_POLL_SECONDS = 0.02

Poll = Callable[[Namespace, Collection[bytes]], Awaitable[dict[bytes, Hit]]]


class Coalescer:
    """Has one process compute a key while the others wait for the answer.

    lease_seconds is how long a lease lasts at most. poll finds the answers of others
    where they appear first. tier is the shared tier that has leases and answers; empty:
    this host has them.
    """

    def __init__(
        self, leases: Leases, lease_seconds: float, poll: Poll, tier: str = ""
    ) -> None:
        self.lease_seconds = lease_seconds
        self.tier = tier
        self._leases = leases
        self._poll = poll

    async def settle(
        self,
        space: Namespace,
        keys: Collection[bytes],
        deadline: float,
        complete: OnFound,
    ) -> None:
        """Call complete once for each key: with another's answer, or None: compute it.

        The caller that computes calls `release` if it gets no answer; setting an answer
        releases its lease. deadline is in the loop's time.
        """
        loop = asyncio.get_running_loop()
        waiting = dict.fromkeys(keys)
        pause = _FIRST_POLL_SECONDS
        while waiting:
            for key, hit in (await self._settled(space, waiting)).items():
                del waiting[key]
                complete(key, hit)
            if loop.time() >= deadline:
                break
            if waiting:
                await asyncio.sleep(min(pause, deadline - loop.time()))
                pause = min(pause * 1.5, _LAST_POLL_SECONDS)
        for key in waiting:
            complete(key, None)

    def release(self, key: bytes) -> None:
        """Let another process compute a key: there is no answer."""
        self._leases.release((key,))

    async def _settled(
        self, space: Namespace, keys: Collection[bytes]
    ) -> dict[bytes, Hit | None]:
        """Return those keys that have an answer by now, or whose lease is ours."""
        acquired = set(await self._leases.acquire(keys, self.lease_seconds))
        # Also for those acquired: their last holder may just have written the answer.
        found = await self._poll(space, keys)
        self._leases.release(acquired & found.keys())
        return {k: found.get(k) for k in keys if k in acquired or k in found}
