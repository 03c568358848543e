"""Down the tiers for reading, off the request path for writing.

    get_many   this host's memory: in line
    fetch      the shared tiers, nearest first; then, if the model's config says so, who
               else is computing
    set        to every tier, behind

A hit in a further tier is written to the nearer ones, for the rest of its time to live.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.local import Local
from gomlx.cache.remote import Remote
from gomlx.cache.tasks import Tasks
from gomlx.cache.tier import Hit, Namespace

log = logging.getLogger(__name__)


OnFound = Callable[[bytes, Hit | None], None]
GetMany = Callable[[Sequence[bytes]], dict[bytes, bytes]]


class Tiered:
    """The tiers of one datastore, nearest first. For one thread: the event loop's."""

    def __init__(
        self, local: Local | None, remotes: Sequence[Remote], ttl_seconds: float
    ) -> None:
        self.name = local.name if local else ""
        self.remotes = tuple(remotes)
        self._local, self._ttl = local, ttl_seconds
        self._tasks = Tasks()
        # What is known here and now.
        self.get_many: GetMany = local.get_many if local else _nothing

    def set(self, space: Namespace, key: bytes, value: bytes) -> None:
        """Have a computed answer written to every tier, soon."""
        if self._local:
            self._local.set(key, value, self._ttl)
        if self.remotes:
            name = space.name(key)
            for remote in self.remotes:
                remote.set(name, value, self._ttl)

    def asks_further(self, rows: int) -> bool:
        """True when `fetch` may find what `get_many` does not; else counts the rows."""
        if not self.remotes:
            return False
        if any(remote.is_usable for remote in self.remotes):
            return True
        for remote in self.remotes:
            remote.skip(rows)
        return False

    def fetch(
        self,
        space: Namespace,
        keys: Collection[bytes],
        coalescer: Coalescer | None,
        until: float,
        complete: OnFound,
    ) -> None:
        """Have land called once for each key, with its answer from elsewhere or None.

        None: compute it, and end with `set` or the coalescer's `release`. until: when
        waiting for others has to end, in the loop's time.
        """
        self._tasks.start(
            self._fetch(space, dict.fromkeys(keys), coalescer, until, complete)
        )

    async def look_further(
        self, space: Namespace, keys: Collection[bytes]
    ) -> dict[bytes, Hit]:
        """Ask the shared tiers, and write what they know to the nearer ones."""
        found: dict[bytes, Hit] = {}
        for i, remote in enumerate(self.remotes):
            names = {space.name(key): key for key in keys if key not in found}
            if not names:
                break
            values = await remote.get_many(names, space.is_answer)
            hits = {names[n]: values[n] for n in names if n in values}
            found |= {key: Hit(value, remote.name) for key, value in hits.items()}
            if hits and (i or self._local):
                self._tasks.start(self._promote(space, i, hits))
        return found

    async def peek_local(
        self, _: Namespace, keys: Collection[bytes]
    ) -> dict[bytes, Hit]:
        """Look again into this host's memory, for a coalescer."""
        assert self._local is not None
        found = self._local.peek(list(keys))
        return {key: Hit(value, self._local.name) for key, value in found.items()}

    async def peek_nearest(
        self, space: Namespace, keys: Collection[bytes]
    ) -> dict[bytes, Hit]:
        """Look again into the nearest shared tier, for a coalescer."""
        nearest = self.remotes[0]
        names = {space.name(key): key for key in keys}
        values = await nearest.peek(names, space.is_answer)
        hits = {names[name]: value for name, value in values.items()}
        if hits and self._local:
            self._tasks.start(self._promote(space, 0, hits))
        return {key: Hit(value, nearest.name) for key, value in hits.items()}

    def tick(self) -> None:
        """Once a second: let the nearest tier tidy up."""
        if self._local:
            self._local.tick()

    async def close(self) -> None:
        """Write what waits, then let go of the tiers."""
        self._tasks.cancel()
        closing = [tier.close() for tier in (self._local, *self.remotes) if tier]
        await asyncio.gather(*closing)

    async def _fetch(
        self,
        space: Namespace,
        waiting: dict[bytes, None],
        coalescer: Coalescer | None,
        until: float,
        complete: OnFound,
    ) -> None:
        def once(key: bytes, found: Hit | None) -> None:
            del waiting[key]
            complete(key, found)

        try:
            for key, hit in (await self.look_further(space, waiting)).items():
                once(key, hit)
            if coalescer and waiting:
                await coalescer.settle(space, list(waiting), until, once)
        except Exception:
            log.exception("looking further failed")
        for key in list(waiting):
            once(key, None)

    async def _promote(
        self, space: Namespace, i: int, hits: dict[bytes, bytes]
    ) -> None:
        names = [space.name(key) for key in hits]
        lefts = await self.remotes[i].remaining_ttl(names)
        for (key, value), name, left in zip(hits.items(), names, lefts, strict=True):
            if not left:  # gone by now, or nobody can say
                continue
            if self._local:
                self._local.set(key, value, min(left, self._ttl))
            for nearer in self.remotes[:i]:
                nearer.set(name, value, self._ttl, at_most=left)


def _nothing(_: Sequence[bytes]) -> dict[bytes, bytes]:
    return {}
