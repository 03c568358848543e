"""A service whose tiers are left out for the models that cost less than a look-up."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import saved_models
from tests.support.redis_servers import Server, free_port, server
from tests.support.service import Service, running, wait_for


class Skipping:
    """A service with `skip_below_us: auto`, and its Redis."""

    def __init__(self, service: Service, redis: Server) -> None:
        self.service = service
        self.redis = redis

    def written(self, model: str) -> int:
        return len(self.redis.execute("KEYS", f"gomlx:1:{model}:*"))


def config_of(folder: Path, url: str) -> dict[str, Any]:
    """Two models of microseconds, one of milliseconds; tiers with and without L1."""
    cheap = str(saved_models.scale(folder / "cheap", 2.0))
    costly = str(saved_models.sleeper(folder / "costly", 500))
    tiers = [{"connection": "near", "skip_below_us": "auto"}]
    return {
        "models": [
            {"id": "cheap", "url": cheap, "datastore": "shared"},
            {"id": "both", "url": cheap, "datastore": "both", "coalesce": "fleet"},
            {"id": "costly", "url": costly, "datastore": "shared"},
        ],
        "datastores": [
            {"id": "shared", "memory_mb": 0, "tiers": tiers},
            {"id": "both", "memory_mb": 4, "tiers": tiers},
        ],
        "connections": [{"id": "near", "url": url}],
    }


@pytest.fixture(scope="module")
def skipping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Skipping]:
    folder = tmp_path_factory.mktemp("skipping")
    with server(folder / "redis") as redis:
        config = config_of(folder, redis.url)
        (folder / "service").mkdir()
        with running(folder / "service", config) as service:
            yield Skipping(service, redis)


def status_of(service: Service, model: str, x: float) -> str:
    reply = service.post(model, {"x": x})
    assert reply.status_code == 200, reply.text
    return str(reply.headers["cache-status"])


def test_a_model_that_costs_less_than_a_look_up_does_without(
    skipping: Skipping,
) -> None:
    service = skipping.service
    for x in (1.0, 1.0, 2.0):
        status = status_of(service, "cheap", x)
        assert status == "gomlx; fwd=bypass; detail=cheap-model"
        assert service.post("cheap", {"x": x}).json()["data"] == {"y": 2 * x}
    assert service.ready()["tiers"]["shared"]["near"]["skipped_by"] == ["cheap"]
    labels = {"model": "cheap", "tier": "near"}
    wait_for(lambda: service.metric("gomlx_tier_skipped", **labels) == 1)
    wait_for(lambda: service.metric("gomlx_tier_costs_more", **labels) == 1)
    assert service.metric("gomlx_lookup_cpu_seconds", datastore="shared") > 0
    assert skipping.written("cheap") == 0


def test_it_is_still_cached_in_this_host(skipping: Skipping) -> None:
    service = skipping.service
    assert status_of(service, "both", 3.0) == "gomlx; fwd=miss; stored"
    wait_for(lambda: "; hit; detail=" in status_of(service, "both", 3.0))
    assert service.post("both", {"x": 3.0}).json()["data"] == {"y": 6.0}
    assert skipping.written("both") == 0


def test_a_model_that_costs_more_uses_it(skipping: Skipping) -> None:
    service = skipping.service
    wait_for(lambda: "; hit; detail=near" in status_of(service, "costly", 1.0))
    assert skipping.written("costly") == 1
    labels = {"model": "costly", "tier": "near"}
    assert service.metric("gomlx_tier_skipped", **labels) == 0
    assert service.metric("gomlx_tier_costs_more", **labels) == 0
    assert "costly" not in service.ready()["tiers"]["shared"]["near"]["skipped_by"]


def test_a_redis_that_comes_later_is_measured_then(tmp_path: Path) -> None:
    port = free_port()
    config = config_of(tmp_path, f"redis://127.0.0.1:{port}/0")
    (tmp_path / "service").mkdir()
    bypassed = "gomlx; fwd=bypass; detail=cheap-model"
    with running(tmp_path / "service", config) as service:
        assert status_of(service, "cheap", 1.0) == "gomlx; fwd=miss; stored"
        with server(tmp_path / "redis", port=port):
            wait_for(lambda: status_of(service, "cheap", 1.0) == bypassed)
            assert service.post("cheap", {"x": 4.0}).json()["data"] == {"y": 8.0}
