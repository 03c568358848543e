"""One worker asks shared tiers how much they hold, and every worker shows it."""

import logging
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gomlx.config.schema import CacheTier, Config, Connection, Datastore, Model
from gomlx.server.process.stores import Store, open_stores
from gomlx.server.process.tier_usage import TierUsages
from tests.cache.clock import Clock
from tests.cache.remote.remotes import NAMES
from tests.server.process.test_stores import Metrics
from tests.support.redis_servers import Server, server

pytestmark = pytest.mark.asyncio


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path / "redis") as one:
        yield one


@pytest_asyncio.fixture
async def stores(redis: Server, tmp_path: Path) -> AsyncIterator[dict[str, Store]]:
    """A datastore with a tier that answers, and one that cannot be reached."""
    urls = {"near": redis.url, "gone": "redis://127.0.0.1:1"}
    tiers = tuple(CacheTier(connection=name) for name in urls)
    config = Config(
        models=(Model(id="m", url="x"),),
        datastores=(Datastore(id="a", memory_mb=0, tiers=tiers),),
        connections=tuple(Connection(id=name, url=url) for name, url in urls.items()),
    )
    metrics: Any = Metrics()
    opened = open_stores(config, tmp_path.joinpath, metrics)
    yield opened
    for store in opened.values():
        await store.tiers.close()


def samples(usages: TierUsages) -> dict[str, dict[Any, float]]:
    found = {one.name: dict(one.samples) for one in usages.metrics()}
    return {name: values for name, values in found.items() if values}


async def test_what_a_tier_tells_one_worker_is_shown_by_all(
    redis: Server, stores: dict[str, Store], tmp_path: Path
) -> None:
    for name in NAMES:
        redis.execute("SET", name.decode(), "1")
    asking = TierUsages(stores, tmp_path)
    reading = TierUsages(stores, tmp_path)
    assert reading.read() == {"a": {}}
    await asking.look()
    shown = reading.read()["a"]
    assert shown["near"]["entries"] == len(NAMES)
    assert shown["near"]["bytes"] > 100_000
    assert "size_bytes" not in shown["near"]  # the server has no limit
    assert "127.0.0.1:1" in shown["gone"]["problem"]
    assert samples(reading) == {
        "gomlx_store_bytes": {("a", "near"): shown["near"]["bytes"]},
        "gomlx_store_entries": {("a", "near"): len(NAMES)},
        "gomlx_store_evicted_entries_total": {("a", "near"): 0},
    }


async def test_what_is_old_or_damaged_is_not_shown(
    stores: dict[str, Store], tmp_path: Path
) -> None:
    clock = Clock(100.0)
    usages = TierUsages(stores, tmp_path, clock)
    await usages.look()
    assert usages.read()["a"]
    clock.now += 61
    assert usages.read() == {"a": {}}
    (tmp_path / "shared_tiers.json").write_bytes(b"{")
    assert usages.read() == {"a": {}}


async def test_a_server_that_refuses_is_not_asked_again(
    redis: Server,
    stores: dict[str, Store],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    usages = TierUsages(stores, tmp_path)
    try:
        redis.execute("ACL", "SETUSER", "default", "-info")
        for _ in range(2):
            await usages.look()
        assert "no permissions" in usages.read()["a"]["near"]["problem"]
    finally:
        redis.execute("ACL", "SETUSER", "default", "+info")
    (calls,) = re.findall("cmdstat_info:.*", redis.execute("INFO", "commandstats"))
    assert "rejected_calls=1," in calls
    assert caplog.text.count("near: how much it holds is not known") == 1
