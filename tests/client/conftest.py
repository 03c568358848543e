"""What tests of several hosts share; and a service with the demo's model."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from tests import redis_servers, saved_models
from tests.client.flights import flights
from tests.service import Service, running


@pytest_asyncio.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture(scope="session")
def near(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_servers.Server]:
    """The Redis of `flying`."""
    with redis_servers.server(tmp_path_factory.mktemp("near")) as started:
        yield started


@pytest.fixture(scope="session")
def flying(
    tmp_path_factory: pytest.TempPathFactory, near: redis_servers.Server
) -> Iterator[Service]:
    """flights; scale, y = 2 x; pick, which fails for some x; over memory and Redis."""
    folder = tmp_path_factory.mktemp("flying")
    flights(folder / "flights")
    saved_models.scale(folder / "scale", 2.0)
    saved_models.pick(folder / "pick")
    names = ("flights", "scale", "pick")
    config = {
        "models": [{"id": n, "url": f"./{n}", "datastore": "s"} for n in names],
        "datastores": [{"id": "s", "memory_mb": 16, "tiers": [{"connection": "near"}]}],
        "connections": [{"id": "near", "url": near.url, "timeout_seconds": 30}],
    }
    with running(folder, config) as service:
        yield service
