"""A shared tier in memory."""

import asyncio
from collections.abc import Mapping, Sequence

from gomlx.cache.tier import TierUsage
from gomlx.errors import TierFailed


class FakeTier:
    """A SharedTier that is a dict; it fails, or stands still, while it is set to."""

    def __init__(self) -> None:
        self.values: dict[bytes, bytes] = {}
        self.fails = False
        self.may_reply = asyncio.Event()
        self.may_reply.set()
        self.is_closed = False

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        await self._reply()
        return [self.values.get(name) for name in names]

    async def set_many(self, items: Mapping[bytes, tuple[bytes, int]]) -> None:
        await self._reply()
        self.values |= {name: value for name, (value, _) in items.items()}

    async def remaining_ttl(self, names: Sequence[bytes]) -> list[int]:
        await self._reply()
        return [1500 if name in self.values else 0 for name in names]

    async def delete(self, names: Sequence[bytes]) -> None:
        await self._reply()
        for name in names:
            self.values.pop(name, None)

    async def acquire(self, names: Sequence[bytes], milliseconds: int) -> list[bool]:
        await self._reply()
        free = [name not in self.values for name in names]
        self.values |= dict.fromkeys(names, b"lease")
        return free

    async def usage(self) -> TierUsage:
        await self._reply()
        return TierUsage(None, sum(map(len, self.values.values())), len(self.values), 0)

    async def ping(self) -> None:
        await self._reply()

    async def close(self) -> None:
        self.is_closed = True

    async def _reply(self) -> None:
        await self.may_reply.wait()
        if self.fails:
            raise TierFailed("no answer")
