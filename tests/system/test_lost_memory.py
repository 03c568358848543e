"""Shared memory that is removed, truncated or damaged while a service runs."""

import os
import re
import shutil
import signal
from collections.abc import Iterator

import httpx
import pytest

from tests.support import saved_models
from tests.support.processes import is_running
from tests.support.service import Service, running, wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("lost")
    saved_models.scale(folder / "model", 2.0)
    model = {"id": "m", "url": "./model", "datastore": "s", "coalesce": "host"}
    config = {
        "endpoint": {"workers": 2},
        "models": [model],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }
    with running(folder, config) as service:
        yield service


def source(service: Service, x: int) -> str:
    """Return what Cache-Status says of a right answer; "" if there is none."""
    try:
        response = service.post_anew("m", {"x": x})
    except httpx.TransportError:  # its worker has died
        return ""
    assert response.json()["data"] == {"y": 2.0 * x}
    return response.headers["cache-status"]


def is_shared(service: Service, x: int) -> bool:
    """Return whether every worker finds in memory what one has computed."""
    workers = service.worker_pids()
    if len(workers) < 2 or not source(service, x):
        return False
    for pid in workers:
        with service.only(pid):
            if "hit" not in source(service, x):
                return False
    return True


def tier_state(service: Service) -> float:
    with service.connect() as client:
        text = client.get("/metrics").text
    line = 'gomlx_tier_state{datastore="s",tier="L1"} '
    return float(text.partition(line)[2].partition("\n")[0])


def test_memory_that_is_removed_is_made_anew(service: Service) -> None:
    workers = sorted(service.worker_pids())
    wait_for(lambda: is_shared(service, 1))
    shutil.rmtree(service.files.shared)  # as logind does when a user logs out
    for x in range(100, 120):
        assert source(service, x)
    wait_for(service.files.manifest.exists)
    wait_for((service.files.store("s") / "ring").exists)
    before = service.text().count("begins anew")
    assert before == 1
    wait_for(lambda: not tier_state(service))
    assert all(map(is_running, workers))
    wait_for(lambda: sorted(service.worker_pids()) == workers)  # announced again
    wait_for(lambda: is_shared(service, 2))
    assert service.files.shared.stat().st_mode & 0o777 == 0o700


def test_a_worker_starts_without_memory(service: Service) -> None:
    os.kill(service.process.pid, signal.SIGSTOP)  # it would make the memory anew
    try:
        shutil.rmtree(service.files.store("s"))
        victim, other = service.worker_pids()
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: len(service.worker_pids()) == 2)
        (new,) = set(service.worker_pids()) - {other}
        with service.only(new):
            assert "hit" not in source(service, 3)
            ready = service.get_anew("/readyz").json()
            assert ready["ready"]
            problem = ready["tiers"]["s"]["L1"]["problem"]
            assert problem.endswith("/s: No such file or directory")
        wait_for(lambda: tier_state(service) == 2)
    finally:
        os.kill(service.process.pid, signal.SIGCONT)
    wait_for(lambda: is_shared(service, 3))
    wait_for(lambda: not tier_state(service))
    # Whichever worker answers: each looks once a second.
    wait_for(lambda: "tiers" not in service.get_anew("/readyz").json())


def test_memory_that_is_truncated_is_made_anew(service: Service) -> None:
    ring = service.files.store("s") / "ring"
    os.truncate(ring, 0)  # to read it now is the death of a worker
    wait_for(lambda: is_shared(service, 4))
    assert ring.stat().st_size == 16 << 20


def test_damaged_answers_are_counted_and_computed_anew(service: Service) -> None:
    ring = service.files.store("s") / "ring"
    right = re.compile(rb'"y":1([46])\.0')
    wait_for(
        lambda: (
            all(source(service, x) for x in (7, 8))
            and len({*right.findall(ring.read_bytes())}) == 2
        )
    )

    def is_damaged() -> bool:
        with ring.open("r+b") as file:
            for found in right.finditer(ring.read_bytes()):
                file.seek(found.start(1))
                file.write(b"9")
        return True

    assert is_damaged()
    # What a worker has found stays in the process for a second.
    bad = {"tier": "L1", "outcome": "bad"}
    wait_for(
        lambda: (
            all(source(service, x) for x in (7, 8))
            and is_damaged()  # what was computed anew, until two were found
            and service.metric("gomlx_cache_lookups_total", **bad) >= 2
        )
    )
    wait_for(lambda: is_shared(service, 7))


def test_damaged_metrics_stop_no_worker(service: Service) -> None:
    for path in service.files.metrics.iterdir():
        path.write_bytes(b"damaged")
    assert service.get_anew("/metrics").status_code == 200
    victim = service.worker_pids()[0]
    for path in service.files.metrics.iterdir():
        path.write_bytes(b"damaged")
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: not is_running(victim))
    wait_for(lambda: len(service.worker_pids()) == 2)
    assert source(service, 6)
    assert service.get_anew("/metrics").status_code == 200
    assert "is discarded, and with it what it has counted" in service.text()
