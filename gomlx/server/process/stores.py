"""Opens the datastores of the config: their tiers, and coalescing over them."""

import asyncio
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.leases import FleetLeases, HostLeases
from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.tier import Remote
from gomlx.cache.remote.worth import Worth
from gomlx.cache.shared_memory.ring import Usage
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.cache.tiered import Tiered
from gomlx.config.schema import CacheTier, Config, Connection, Datastore, Model
from gomlx.metrics.instruments import Counter
from gomlx.metrics.metrics import Metrics
from gomlx.metrics.rate import RecentRate

# Of the nearest tier, and of further ones; a longer wait often costs more than a run.
_DEADLINES_MS = (5.0, 20.0)
_MEASURE_SECONDS = 10.0  # between two tries


class Store:
    """One datastore."""

    def __init__(
        self,
        datastore: Datastore,
        connections: dict[str, Connection],
        directory: Path,
        metrics: Metrics,
    ) -> None:
        self._datastore = datastore
        self._directory = directory
        self._metrics = metrics
        self._memory: SharedMemory | None = None
        self._overwritten = RecentRate()
        self._local = self._open_local() if datastore.memory_mb else None
        self._remotes = [
            self._open_remote(i, tier, connections[tier.connection])
            for i, tier in enumerate(datastore.tiers)
        ]
        self.tiers = Tiered(self._local, self._remotes, datastore.ttl_seconds)

    def detail(self) -> dict[str, dict[str, Any]]:
        """Return the state of each shared tier by name, its problems, who skips it.

        Of L1 its problem, if there is one.
        """
        problem = self._memory.problem if self._memory else ""
        return ({SharedMemory.name: {"problem": problem}} if problem else {}) | {
            remote.name: {"state": remote.health.state.name.lower().replace("_", "-")}
            | ({"problem": remote.health.problem} if remote.health.problem else {})
            | ({"writes": remote.writes.problem} if remote.writes.problem else {})
            | (
                {"skipped_by": skipped}
                if (skipped := sorted(remote.worth.skipped))
                else {}
            )
            for remote in self._remotes
        }

    @property
    def size_bytes(self) -> int:
        """How much shared memory is reserved."""
        return self._datastore.memory_mb << 20

    def usage(self) -> Usage | None:
        """Return how much of the shared memory is in use, if there is any."""
        return self._memory.usage() if self._memory else None

    def stats(self) -> dict[str, dict[str, float]]:
        """Return what the shared memory holds, if any, as /v1/api/stats has it."""
        usage = self.usage()
        if usage is None:
            return {}
        rate = self._overwritten.per_second()
        size = {"size_bytes": self.size_bytes}
        return {"L1": size | usage._asdict() | {"overwritten_bytes_per_second": rate}}

    def tick(self) -> None:
        """Do what is due once a second."""
        self.tiers.tick()
        if self._memory:
            self._overwritten.sample(self._memory.overwritten_bytes())

    def keep_models(self, is_kept: Callable[[str], bool]) -> None:
        """Forget the models that are gone."""
        for remote in self._remotes:
            remote.worth.keep_models(is_kept)

    def coalescer(self, model: Model) -> Coalescer | None:
        """Return what coalesces a model's missing rows; None: only its process does."""
        seconds = model.lease_ms / 1000
        if model.coalesce == "host":
            return Coalescer(self._host_leases, seconds, self.tiers.poll_local)
        if model.coalesce == "fleet":
            tier = self._remotes[0].name
            return Coalescer(self._fleet_leases, seconds, self.tiers.poll_nearest, tier)
        return None

    # One of each for all models: the locks belong to the process.

    @cached_property
    def _host_leases(self) -> HostLeases:
        assert self._local is not None  # the config has been checked
        return HostLeases(self._directory / "leases", self._local)

    @cached_property
    def _fleet_leases(self) -> FleetLeases:
        return FleetLeases(self._remotes[0])

    def _open_local(self) -> Local:
        name = SharedMemory.name
        counts = LocalCounts(
            self._counter(name),
            self._metrics.histogram("gomlx_cache_seconds", self._datastore.id, name),
            self._metrics.gauge("gomlx_tier_state", self._datastore.id, name),
        )
        self._memory = SharedMemory(self._directory, damaged=counts.damaged)
        return Local(self._memory, counts, self._datastore.queue_mb << 20)

    def _open_remote(self, i: int, tier: CacheTier, connection: Connection) -> Remote:
        default = _DEADLINES_MS[min(i, 1)]
        limits = TierLimits(
            (tier.deadline_ms or default) / 1000,
            tier.ttl_seconds or self._datastore.ttl_seconds,
            tier.max_value_bytes,
            self._datastore.queue_mb << 20,
            tier.read_only,
        )
        name = connection.id
        counts = RemoteCounts(
            self._counter(name),
            self._metrics.histogram("gomlx_cache_seconds", self._datastore.id, name),
            self._metrics.gauge("gomlx_tier_state", self._datastore.id, name),
        )
        worth = Worth(
            tier.skips,
            self._metrics.gauge("gomlx_lookup_cpu_seconds", self._datastore.id, name),
            lambda metric, model: self._metrics.gauge(
                metric, model, self._datastore.id, name
            ),
        )
        return Remote(name, RedisTier.from_config(connection), limits, counts, worth)

    def _counter(self, tier: str) -> Callable[[str, str], Counter]:
        def counter(metric: str, outcome: str) -> Counter:
            return self._metrics.counter(metric, self._datastore.id, tier, outcome)

        return counter


def open_stores(
    config: Config, directory: Callable[[str], Path], metrics: Metrics
) -> dict[str, Store]:
    """Open every datastore; directory: of its shared memory, by name."""
    connections = {connection.id: connection for connection in config.connections}
    return {
        store.id: Store(store, connections, directory(store.id), metrics)
        for store in config.datastores
    }


async def measure_tiers(stores: Iterable[Store]) -> None:
    """Measure what look-ups cost, while the event loop has nothing else to do."""
    for store in stores:
        for remote in store.tiers.remotes:
            await remote.measure()


async def keep_measuring(
    stores: Iterable[Store], on_measured: Callable[[], None]
) -> None:
    """Measure those tiers, too, that did not work at the start, until all are."""
    remotes = [remote for store in stores for remote in store.tiers.remotes]
    unmeasured = [remote for remote in remotes if not remote.worth.lookup_seconds]
    while unmeasured:
        await asyncio.sleep(_MEASURE_SECONDS)
        remaining = [one for one in unmeasured if not await one.measure()]
        if len(remaining) < len(unmeasured):
            on_measured()
        unmeasured = remaining
