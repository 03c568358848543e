"""Workers share one copy of a model's weights."""

import re
from pathlib import Path

from tests.support import saved_models
from tests.support.service import Service, running, wait_for

WEIGHTS_MB = 256


def own_mb(pid: int) -> tuple[float, float]:
    """Return the memory of a process in MB, and how much of the weights it has read.

    Its memory is its private pages and its share of the weights that it maps, without
    TensorFlow's code, of which its share depends on other processes.
    """
    own = 0
    read = 0
    is_weights = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_weights = "/weights/" in line
        elif name == ("Pss" if is_weights else "Private_Dirty"):
            own += int(value.split()[0])
        elif is_weights and name == "Rss":
            read += int(value.split()[0])
    return own / 1024, read / 1024


def workers_mb(service: Service, model: str, megabytes: int) -> float:
    """Return the memory of all workers, once each has read all of a model's weights."""
    pids = service.worker_pids()
    for pid in pids:
        with service.only(pid):
            read_all_weights(service, model)
    found = [own_mb(pid) for pid in pids]
    assert all(read > 0.9 * megabytes for _, read in found)
    return sum(own for own, _ in found)


def read_all_weights(service: Service, model: str) -> None:
    """Request one row per page: the same rows of every model, whatever its size."""
    rows = WEIGHTS_MB * 2**20 // (64 * 4)
    for start in range(0, rows, 16 * 1000):
        part = list(range(start, min(start + 16 * 1000, rows), 16))
        columns = {"x": part, "batch_size": len(part)}
        # A new connection is accepted by the worker that is not suspended.
        assert service.post_anew(model, columns).status_code == 200


def test_two_workers_share_the_weights(tmp_path: Path) -> None:
    """Compare their memory before and after a big model is added to a tiny one."""
    saved_models.embedding(tmp_path / "tiny", 1)
    models = [{"id": model, "url": f"./{model}"} for model in ("tiny", "big")]
    config = {"endpoint": {"workers": 2}, "models": models}
    with running(tmp_path, config) as service:
        tiny = workers_mb(service, "tiny", 1)
        big = saved_models.embedding(tmp_path / "new", WEIGHTS_MB)
        service.stage("big", big)
        big.rename(tmp_path / "big")
        wait_for(lambda: all(model["ready"] for model in service.states()))
        both = workers_mb(service, "big", 1 + WEIGHTS_MB)
    print(f"two workers of {WEIGHTS_MB} MB: {both - tiny:.0f} MB more")  # noqa: T201
    assert 0.9 * WEIGHTS_MB < both - tiny < 1.1 * WEIGHTS_MB
