"""A disk that is full while a service runs: requests are answered all the same."""

import errno
import os
import signal
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.support import saved_models
from tests.support.processes import is_running
from tests.support.service import Service, running, wait_for

CONFIG = {
    "endpoint": {"workers": 2},
    "models": [{"id": "m", "url": "./model", "datastore": "s"}],
    "datastores": [{"id": "s", "memory_mb": 16}],
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One whose folder, run directory and log are on a file system of 8 MB."""
    disk = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("may not mount file systems")
    try:
        saved_models.scale(disk / "model", 2.0)
        saved_models.scale(disk / "second", 3.0)
        saved_models.scale(disk / "third", 4.0)
        with running(disk, CONFIG) as service:
            yield service
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture
def others(service: Service) -> Iterator[Path]:
    """A file that fills the disk, as long as it is there."""
    path = service.folder / "others"
    with path.open("wb", buffering=0) as file, pytest.raises(OSError) as caught:
        while file.write(bytes(4096)):
            pass
    assert caught.value.errno == errno.ENOSPC
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.usefixtures("others")
def test_requests_are_answered_and_counted(service: Service) -> None:
    workers = sorted(service.worker_pids())
    for pid in workers:
        with service.only(pid):
            refused_and_answered(service)
    assert sorted(service.worker_pids()) == workers
    for code in ("400", "404"):
        wait_for(partial(is_counted, service, code, len(workers)))


def is_counted(service: Service, code: str, times: int) -> bool:
    kind = "unrouted_requests" if code == "404" else "requests"
    return service.metric(f"gomlx_{kind}_total", code=code) == times


def refused_and_answered(service: Service) -> None:
    with service.connect() as client:
        path = "/v1/api/model/m/eval"
        assert client.post(path, content=b"{").status_code == 400
        assert client.get("/v1/api/model/none/eval?x=1").status_code == 404
        for _ in range(2):
            assert client.get(path, params={"x": 4}).json()["data"] == {"y": 8.0}


@pytest.mark.usefixtures("others")
def test_processes_are_replaced(service: Service) -> None:
    workers, master = service.worker_pids(), service.master_pid()
    os.kill(master, signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, workers)))
    wait_for(lambda: len(service.worker_pids()) == 2)
    assert service.master_pid() != master
    for pid in service.worker_pids():
        with service.only(pid):
            refused_and_answered(service)


@pytest.mark.usefixtures("others")
def test_a_start_serves_what_is_staged(service: Service) -> None:
    assert service.stop() == 0
    service.start()
    assert service.post_anew("m", {"x": 5}).json()["data"] == {"y": 10.0}
    assert service.get_anew("/v1/api/health").json()["m"]


def put(service: Service, model: str) -> None:
    (service.folder / "model").rename(service.folder / f"before {model}")
    (service.folder / model).rename(service.folder / "model")


def test_health_tells_of_a_staging_without_room(service: Service, others: Path) -> None:
    before = service.version("m")
    put(service, "second")
    wait_for(lambda: not service.get_anew("/v1/api/health").json()["m"])
    problem = service.get_anew("/readyz").json()["models"]["m"]["problem"]
    assert "No space left on device" in problem
    assert service.version("m") == before
    assert service.post_anew("m", {"x": 4}).json()["data"] == {"y": 8.0}
    others.unlink()
    put(service, "third")
    wait_for(lambda: service.post_anew("m", {"x": 4}).json()["data"] == {"y": 16.0})
    wait_for(lambda: service.get_anew("/v1/api/health").json()["m"])
