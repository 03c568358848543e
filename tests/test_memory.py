"""Workers share one copy of a model's weights."""

import re
from pathlib import Path

import httpx
import pytest

from tests import saved_models
from tests.service import Service, running

WEIGHTS_MB = 256


def own_mb(pid: int) -> tuple[float, float]:
    """What a process takes: its private pages and its share of the weights that it
    maps; and how much of the weights it has read.

    TensorFlow's own code is left out: who else runs it decides what a share of it is.
    """
    own, read, is_weights = 0, 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_weights = "/weights/" in line
        elif name == ("Pss" if is_weights else "Private_Dirty"):
            own += int(value.split()[0])
        elif is_weights and name == "Rss":
            read += int(value.split()[0])
    return own / 1024, read / 1024


def workers_mb(folder: Path, megabytes: int) -> float:
    """What two workers together take once each has read all of the weights."""
    folder.mkdir()
    saved_models.embedding(folder / "model", megabytes)
    config = {"endpoint": {"workers": 2}, "models": [{"id": "m", "url": "./model"}]}
    with running(folder, config) as service:
        pids = service.worker_pids()
        for _ in range(30):  # rounds, to whichever worker
            read_all_weights(service)
            found = [own_mb(pid) for pid in pids]
            if all(read > 0.9 * megabytes for _, read in found):
                return sum(own for own, _ in found)
    raise AssertionError("not every worker has read the weights")


def read_all_weights(service: Service) -> None:
    """Ask for one row a page: the same rows of every model, whatever its size."""
    rows = WEIGHTS_MB * 2**20 // (64 * 4)
    for start in range(0, rows, 16 * 1000):
        part = list(range(start, min(start + 16 * 1000, rows), 16))
        question = {"x": part, "batch_size": len(part)}
        # A connection of its own: one worker may be quicker to take each that comes.
        url = f"{service.url}/v1/api/model/m/eval"
        response = httpx.post(url, json=question, timeout=30)
        assert response.status_code == 200


@pytest.mark.timeout(240)
def test_two_workers_take_the_weights_once(tmp_path: Path) -> None:
    tiny = workers_mb(tmp_path / "tiny", 1)
    big = workers_mb(tmp_path / "big", WEIGHTS_MB)
    print(f"two workers of {WEIGHTS_MB} MB: {big - tiny:.0f} MB more than of 1 MB")  # noqa: T201
    assert 0.9 * WEIGHTS_MB < big - tiny < 1.1 * WEIGHTS_MB
