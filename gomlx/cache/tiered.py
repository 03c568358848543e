"""Down the tiers for reading, off the request path for writing.

    get_many   this host's memory, in line
    fetch      the shared tiers, nearest first; then, if the model's config says so, the
               processes that are computing
    set        to every tier, behind

A hit in a farther tier is promoted to the nearer ones, for its remaining time to live.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.local import Local
from gomlx.cache.remote.tier import Remote
from gomlx.cache.tasks import Tasks
from gomlx.cache.tier import Hit, Namespace, OnFound

log = logging.getLogger(__name__)

GetMany = Callable[[Sequence[bytes]], dict[bytes, bytes]]


class Tiered:
    """The tiers of one datastore, nearest first. For one thread: the event loop's."""

    def __init__(
        self, local: Local | None, remotes: Sequence[Remote], ttl_seconds: float
    ) -> None:
        self.name = local.name if local else ""
        self.remotes = tuple(remotes)
        self._local = local
        self._ttl_seconds = ttl_seconds
        self._tasks = Tasks()
        # The answers in this host's memory. PERF: no method of ours between.
        self.get_many: GetMany = local.get_many if local else _nothing

    def set(self, space: Namespace, key: bytes, value: bytes) -> None:
        """Have a computed answer written to every tier, soon."""
        if self._local:
            self._local.set(key, value, self._ttl_seconds)
        if self.remotes:
            name = space.name(key)
            for remote in self.remotes:
                remote.writes.put(name, value, self._ttl_seconds)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is ever found here."""
        return self._local is None and not self.remotes

    def worthwhile(self, model: str, run_seconds: float) -> "Tiered":
        """Return the tiers that a model uses: itself, unless it does without some.

        run_seconds: how long it takes to compute the answer for one key. What is
        returned shares all with this datastore, which is closed once, here.
        """
        skipped = [one for one in self.remotes if one.worth.skips(model, run_seconds)]
        if not skipped:
            return self
        return self.with_remotes([one for one in self.remotes if one not in skipped])

    def with_remotes(self, remotes: Sequence[Remote]) -> "Tiered":
        """Return the same tiers with others in place of the shared ones."""
        others = Tiered(self._local, remotes, self._ttl_seconds)
        others._tasks = self._tasks
        return others

    def can_fetch(self, rows: int) -> bool:
        """Return True when `fetch` may find rows; otherwise count them as skipped."""
        if not self.remotes:
            return False
        if any(remote.health.may_allow for remote in self.remotes):
            return True
        for remote in self.remotes:
            remote.lookups.skip(rows)
        return False

    def fetch(
        self,
        space: Namespace,
        keys: Collection[bytes],
        coalescer: Coalescer | None,
        deadline: float,
        complete: OnFound,
    ) -> None:
        """Call complete once for each key, with its answer from elsewhere or None.

        None: compute it, and end with `set` or the coalescer's `release`. Other
        processes are waited for until the deadline, in the loop's time.
        """
        self._tasks.start(
            self._fetch(space, dict.fromkeys(keys), coalescer, deadline, complete)
        )

    async def get_shared(
        self, space: Namespace, keys: Collection[bytes]
    ) -> dict[bytes, Hit]:
        """Return answers of the shared tiers, and promote them to the nearer ones."""
        found: dict[bytes, Hit] = {}
        for i, remote in enumerate(self.remotes):
            names = {space.name(key): key for key in keys if key not in found}
            if not names:
                break
            values = await remote.lookups.get_many(names, space.is_answer)
            hits = {names[n]: values[n] for n in names if n in values}
            found |= {key: Hit(value, remote.name) for key, value in hits.items()}
            if hits and (i or self._local):
                self._tasks.start(self._promote(space, i, hits))
        return found

    async def poll_local(
        self, _: Namespace, keys: Collection[bytes]
    ) -> dict[bytes, Hit]:
        """Look again in this host's memory, for a coalescer."""
        assert self._local is not None
        found = self._local.peek(list(keys))
        return {key: Hit(value, self._local.name) for key, value in found.items()}

    async def poll_nearest(
        self, space: Namespace, keys: Collection[bytes]
    ) -> dict[bytes, Hit]:
        """Look again in the nearest shared tier, for a coalescer."""
        nearest = self.remotes[0]
        names = {space.name(key): key for key in keys}
        values = await nearest.polls.get_many(names, space.is_answer)
        hits = {names[name]: value for name, value in values.items()}
        if hits and self._local:
            self._tasks.start(self._promote(space, 0, hits))
        return {key: Hit(value, nearest.name) for key, value in hits.items()}

    def tick(self) -> None:
        """Once a second: let the nearest tier tidy up."""
        if self._local:
            self._local.tick()

    async def close(self) -> None:
        """Write what is queued, and close the tiers."""
        self._tasks.cancel()
        closing = [tier.close() for tier in (self._local, *self.remotes) if tier]
        await asyncio.gather(*closing)

    async def _fetch(
        self,
        space: Namespace,
        waiting: dict[bytes, None],
        coalescer: Coalescer | None,
        deadline: float,
        complete: OnFound,
    ) -> None:
        def once(key: bytes, found: Hit | None) -> None:
            del waiting[key]
            complete(key, found)

        try:
            for key, hit in (await self.get_shared(space, waiting)).items():
                once(key, hit)
            if coalescer and waiting:
                await coalescer.settle(space, list(waiting), deadline, once)
        except Exception:
            log.exception("looking up rows elsewhere failed: they are computed")
        for key in list(waiting):
            once(key, None)

    async def _promote(
        self, space: Namespace, i: int, hits: dict[bytes, bytes]
    ) -> None:
        """Write hits of the i-th shared tier to the nearer ones."""
        names = [space.name(key) for key in hits]
        ttls = await self.remotes[i].remaining_ttl(names)
        for (key, value), name, ttl in zip(hits.items(), names, ttls, strict=True):
            if not ttl:  # expired by now, or the tier does not say
                continue
            if self._local:
                self._local.set(key, value, min(ttl, self._ttl_seconds))
            for nearer in self.remotes[:i]:
                nearer.writes.put(name, value, self._ttl_seconds, at_most=ttl)


def _nothing(_: Sequence[bytes]) -> dict[bytes, bytes]:
    return {}
