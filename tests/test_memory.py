"""Workers share one copy of a model's weights."""

import re
from pathlib import Path

import httpx
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


def mapped_mb(pid: int) -> float:
    """What a process has read of the weights that it maps."""
    found, is_weights = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_weights = "/weights/" in line
        elif is_weights and line.startswith("Rss:"):
            found += int(line.split()[1])
    return found / 1024


def workers_mb(folder: Path, megabytes: int, workers: int) -> float:
    """What all workers together take once each has read all of the weights."""
    folder.mkdir()
    saved_models.embedding(folder / "model", megabytes)
    config = {
        "endpoint": {"workers": workers},
        "models": [{"id": "m", "url": "./model"}],
    }
    with running(folder, config) as service:
        pids = service.worker_pids()
        for _ in range(20):  # rounds, on fresh connections, to whichever worker
            read_all_weights(service)
            if all(mapped_mb(pid) > 0.9 * megabytes for pid in pids):
                return sum(map(pss_mb, pids))
    raise AssertionError("not every worker has read the weights")


def read_all_weights(service: Service) -> None:
    """Ask for one row a page: the same rows of every model, whatever its size."""
    rows = WEIGHTS_MB * 2**20 // (64 * 4)
    with httpx.Client(base_url=service.url, timeout=30) as client:
        for start in range(0, rows, 16 * 1000):
            part = list(range(start, min(start + 16 * 1000, rows), 16))
            question = {"x": part, "batch_size": len(part)}
            response = client.post("/v1/api/model/m/eval", json=question)
            assert response.status_code == 200


@pytest.mark.timeout(240)
def test_a_second_worker_costs_less_than_a_tenth_of_the_weights(tmp_path: Path) -> None:
    tiny = {n: workers_mb(tmp_path / f"tiny{n}", 1, n) for n in (1, 2)}
    big = {n: workers_mb(tmp_path / f"big{n}", WEIGHTS_MB, n) for n in (1, 2)}
    second_tiny, second_big = tiny[2] - tiny[1], big[2] - big[1]
    print(f"second worker: {second_tiny:.0f} MB tiny, {second_big:.0f} MB big")  # noqa: T201
    assert big[1] - tiny[1] > 0.9 * WEIGHTS_MB  # the weights were read at all
    assert second_big - second_tiny < 0.1 * WEIGHTS_MB
