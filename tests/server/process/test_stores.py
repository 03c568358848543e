"""The datastores of a config are opened with their tiers, and coalesce as it says."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.config.schema import CacheTier, Config, Connection, Datastore, Model
from gomlx.metrics.instruments import Gauge
from gomlx.server.process.stores import Store, open_stores
from gomlx.server.process.tier_usage import TierUsages
from tests.cache.entries import entries
from tests.server.conftest import Counts

pytestmark = pytest.mark.asyncio


class Metrics(Counts):
    """The three methods of Metrics that stores need."""

    def gauge(self, *key: str) -> Gauge:
        return Gauge()


@pytest_asyncio.fixture
async def stores(shared_folder: Path) -> AsyncIterator[dict[str, Store]]:
    tiers = (CacheTier(connection="near"), CacheTier(connection="far"))
    datastores = (
        Datastore(id="memory", memory_mb=4),
        Datastore(id="both", memory_mb=4, tiers=tiers),
        Datastore(id="shared", memory_mb=0, tiers=tiers),
    )
    urls = {"near": "redis://127.0.0.1:1", "far": "redis://127.0.0.1:2"}
    config = Config(
        models=(Model(id="m", url="x"),),
        datastores=datastores,
        connections=tuple(Connection(id=name, url=url) for name, url in urls.items()),
    )
    for name in ("memory", "both"):
        create_store(shared_folder / name, 4 << 20)
    metrics: Any = Metrics()
    opened = open_stores(config, shared_folder.joinpath, metrics)
    yield opened
    for store in opened.values():
        await store.tiers.close()


async def test_details_name_every_shared_tier(stores: dict[str, Store]) -> None:
    closed = {"state": "closed"}
    assert {name: store.detail() for name, store in stores.items()} == {
        "memory": {},
        "both": {"near": closed, "far": closed},
        "shared": {"near": closed, "far": closed},
    }


async def test_a_model_coalesces_where_its_config_says(
    stores: dict[str, Store],
) -> None:
    store = stores["both"]
    process, host, fleet = (
        store.coalescer(Model(id="m", url="x", coalesce=where, lease_ms=250))
        for where in ("process", "host", "fleet")
    )
    assert process is None
    assert host
    assert fleet
    assert host.lease_seconds == fleet.lease_seconds == 0.25


async def test_metrics_tell_what_shared_memory_holds(
    stores: dict[str, Store], shared_folder: Path
) -> None:
    other = SharedMemory(shared_folder / "memory")
    for start in range(0, 40_000, 500):
        other.set_many(entries(range(start, start + 500)))
    other.close()
    usages = TierUsages(stores, shared_folder)
    found = {one.name: dict(one.samples) for one in usages.metrics()}
    memory = ("memory", "L1")
    both = ("both", "L1")
    sizes = {memory: 4 << 20, both: 4 << 20}
    assert found["gomlx_store_size_bytes"] == sizes
    number = found["gomlx_store_entries"]
    assert number[both] == 0
    bytes_ = found["gomlx_store_bytes"][memory]
    assert bytes_ > 3_200_000
    assert found["gomlx_store_evicted_bytes_total"][memory] > 1_000_000
    assert bytes_ / number[memory] == pytest.approx(136, rel=0.15)


async def test_stats_are_of_the_shared_memory_only(stores: dict[str, Store]) -> None:
    for store in stores.values():
        store.tick()
    nothing = {"bytes": 0, "entries": 0, "overwritten_bytes": 0}
    sizes = {"size_bytes": 4 << 20, "overwritten_bytes_per_second": 0}
    assert stores["memory"].stats() == stores["both"].stats() == {"L1": nothing | sizes}
    assert stores["shared"].stats() == {}
