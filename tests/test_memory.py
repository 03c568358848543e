"""Workers share one copy of a model's weights."""

from pathlib import Path

import pytest

from tests import saved_models
from tests.service import Service, running

pytestmark = pytest.mark.xdist_group("memory")

WEIGHTS_MB = 256


def pss_mb(pid: int) -> float:
    """The proportional set size: private pages and a share of the shared ones."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no Pss line")


def workers_mb(folder: Path, megabytes: int, workers: int) -> float:
    """What all workers together take once each has read all of the weights."""
    folder.mkdir()
    saved_models.embedding(folder / "model", megabytes)
    config = {
        "endpoint": {"workers": workers},
        "models": [{"id": "m", "url": "./model"}],
    }
    with running(folder, config) as service:
        read_all_weights(service, megabytes)
        return sum(map(pss_mb, service.worker_pids()))


def read_all_weights(service: Service, megabytes: int) -> None:
    """One row a page, on fresh connections until every worker has answered."""
    rows = megabytes * 2**20 // (64 * 4)
    columns = [list(range(start, rows, 16 * 4000)) for start in range(0, 16 * 4000, 16)]
    column = sorted(x for c in columns for x in c)
    for _ in range(4 * service.workers):
        for start in range(0, len(column), 4000):
            part = column[start : start + 4000]
            question = {"x": part, "batch_size": len(part)}
            assert service.post("m", question).status_code == 200
        service.client.close()
        service.client = type(service.client)(base_url=service.url, timeout=30)


@pytest.mark.timeout(240)
def test_a_second_worker_costs_less_than_a_tenth_of_the_weights(tmp_path: Path) -> None:
    tiny = {n: workers_mb(tmp_path / f"tiny{n}", 1, n) for n in (1, 2)}
    big = {n: workers_mb(tmp_path / f"big{n}", WEIGHTS_MB, n) for n in (1, 2)}
    second_tiny, second_big = tiny[2] - tiny[1], big[2] - big[1]
    print(f"second worker: {second_tiny:.0f} MB tiny, {second_big:.0f} MB big")  # noqa: T201
    assert big[1] - tiny[1] > 0.9 * WEIGHTS_MB  # the weights were read at all
    assert second_big - second_tiny < 0.1 * WEIGHTS_MB
