"""Watchers of the steps of requests, in place of the parts whose times are wanted."""

from collections.abc import Collection, Mapping
from copy import copy
from dataclasses import dataclass
from time import perf_counter
from typing import Any, cast

from gomlx.cache.remote.lookups import FindsNames
from gomlx.cache.remote.tier import Remote
from gomlx.cache.remote.validation import IsAnswer
from gomlx.contract.tensor import Row
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.run import Job, RowResult
from gomlx.models.serving.current import LiveVersion
from gomlx.server.predict.lookup import VersionLookup
from gomlx.tracing.trace import Attributes, Step, Trace


@dataclass(frozen=True)
class Watch:
    """Watches the steps of one request.

    tiers: what its span says of each shared tier, by name.
    """

    trace: Trace
    tiers: Mapping[str, Attributes]

    def parsed(self, started: float) -> None:
        """Note that a large text is parsed now, by a thread that it has waited for."""
        self.trace.add(Step("parse", started, perf_counter()))

    def looked_up(self, tier: str, started: float, rows: int, hits: int) -> None:
        """Note a look-up in this host's memory, which has just ended."""
        if not tier:  # there are shared ones only
            return
        about: dict[str, str | int | float | bool] = {
            "gomlx.tier": tier,
            "gomlx.rows": rows,
            "gomlx.hits": hits,
        }
        ended = perf_counter()
        self.trace.add(Step(f"look up {tier}", started, ended, "internal", about))

    def version(self, live: LiveVersion) -> LiveVersion:
        """Return a version whose runs are noted."""
        return cast(LiveVersion, WatchedVersion(live, self.trace))

    def lookup(self, lookup: VersionLookup) -> VersionLookup:
        """Return a look-up whose shared tiers are watched."""
        cache = lookup.policy.cache
        if cache is None or not cache.remotes:
            return lookup
        watched = copy(lookup)
        tiers = cache.with_remotes([self._remote(one) for one in cache.remotes])
        watched.policy = lookup.policy._replace(cache=tiers)
        return watched

    def _remote(self, remote: Remote) -> Remote:
        watched = copy(remote)
        about = {**self.tiers.get(remote.name, {}), "gomlx.tier": remote.name}
        watched.lookups = WatchedLookups(remote.name, remote.lookups, self.trace, about)
        return watched


class _Delegate:
    """Has all that another object has, but what is its own."""

    def __init__(self, other: object) -> None:
        self._other = other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._other, name)


class WatchedVersion(_Delegate):
    """A LiveVersion whose batcher is watched."""

    def __init__(self, live: LiveVersion, trace: Trace) -> None:
        super().__init__(live)
        self.batcher = WatchedBatcher(live.batcher, trace)


class WatchedBatcher(_Delegate):
    """A Batcher that notes the jobs of one request."""

    def __init__(self, batcher: Batcher, trace: Trace) -> None:
        super().__init__(batcher)
        self._add = batcher.add
        self._trace = trace

    def add(self, row: Row, job: Job) -> None:
        """Have a row run, and noted when."""
        self._add(row, WatchedJob(job, self._trace))


class WatchedJob:
    """A job that notes when its run starts and ends."""

    __slots__ = ("_added", "_job", "_started", "_trace")

    def __init__(self, job: Job, trace: Trace) -> None:
        self._job = job
        self._trace = trace
        self._added = perf_counter()
        self._started = 0.0

    def is_awaited(self, now: float) -> bool:
        """The queue asks when the run starts; of a row that it keeps, it asks again."""
        self._started = now
        return self._job.is_awaited(now)

    def complete(self, outcome: RowResult) -> None:
        """Note the run, unless the row was dropped, and pass on the outcome."""
        if self._started:
            self._trace.ran(self._added, self._started, perf_counter())
        self._job.complete(outcome)


@dataclass(frozen=True)
class WatchedLookups:
    """Look-ups in a shared tier that are noted."""

    name: str
    lookups: FindsNames
    trace: Trace
    about: Attributes

    async def get_many(
        self, names: Collection[bytes], is_answer: IsAnswer
    ) -> Mapping[bytes, bytes]:
        """Return what the tier finds."""
        started = perf_counter()
        found = await self.lookups.get_many(names, is_answer)
        hits = sum(name in found for name in names)
        about = {
            **self.about,
            "db.operation.batch.size": len(names),
            "gomlx.hits": hits,
        }
        step = Step(f"MGET {self.name}", started, perf_counter(), "client", about)
        self.trace.add(step)
        return found

    def skip(self, rows: int) -> None:
        """Count rows that are not looked up."""
        self.lookups.skip(rows)
