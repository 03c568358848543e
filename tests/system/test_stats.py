"""What a service tells of its shared memory: how full it is, and how fast it turns."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support import saved_models
from tests.support.service import Service, running, wait_for

METRICS = {
    "bytes": "gomlx_store_bytes",
    "entries": "gomlx_store_entries",
    "overwritten_bytes": "gomlx_store_evicted_bytes_total",
}
MEMORY = 1 << 20
BATCH = 500


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("stats")
    url = str(saved_models.scale(folder / "scale", 2.0))
    config = {
        "endpoint": {"workers": 2},
        "models": [{"id": "scale", "url": url, "datastore": "answers"}],
        "datastores": [{"id": "answers", "memory_mb": MEMORY >> 20}],
    }
    with running(folder, config) as service:
        yield service


def stats(service: Service) -> dict[str, Any]:
    document = service.get_anew("/v1/api/stats").json()
    assert list(document) == ["datastores"]
    answers = document["datastores"]["answers"]
    found: dict[str, Any] = answers["L1"]
    return found


def write(service: Service, start: int) -> None:
    """Have rows computed that nobody has asked for."""
    rows = list(range(start, start + BATCH))
    response = service.post("scale", {"x": rows, "batch_size": BATCH})
    assert response.status_code == 200


def test_stats_begin_empty_fill_and_tell_what_is_overwritten(service: Service) -> None:
    empty = dict.fromkeys(stats(service), 0) | {"size_bytes": MEMORY}
    assert stats(service) == empty
    assert list(empty) == [
        "size_bytes",
        "bytes",
        "entries",
        "overwritten_bytes",
        "overwritten_bytes_per_second",
    ]
    write(service, 0)
    wait_for(lambda: stats(service)["bytes"] >= 40 * BATCH)  # 32 and "{"y":0.0}"
    first = stats(service)
    assert first["overwritten_bytes"] == 0
    assert first["entries"] == pytest.approx(BATCH, rel=0.3)  # of a sample
    entry_bytes = first["bytes"] / BATCH
    for start in range(BATCH, 40_000, BATCH):
        write(service, start)
    wait_for(
        lambda: stats(service)["overwritten_bytes"] > 30_000 * entry_bytes - MEMORY
    )
    full = stats(service)
    assert 0.7 * MEMORY < full["bytes"] < 0.8 * MEMORY  # a fifth is the index
    assert 0.5 < full["entries"] * entry_bytes / full["bytes"] < 1
    for pid in service.worker_pids():  # whichever wrote
        with service.only(pid):
            rate = wait_for(lambda: stats(service)["overwritten_bytes_per_second"])
            # Over a second, or a little less: the clock ticks about once.
            assert rate < 1.5 * full["overwritten_bytes"]


def test_metrics_agree_with_the_stats(service: Service) -> None:
    for start in range(100_000, 125_000, BATCH):
        write(service, start)
    for name in METRICS:
        wait_for(partial(agree, service, name))


def agree(service: Service, name: str) -> bool:
    metric = METRICS[name]
    value: float = stats(service)[name]
    return value > 0 and service.metric(metric, datastore="answers") == value
