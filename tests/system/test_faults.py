"""Processes that are killed: the service recovers, and nothing remains of it."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import saved_models
from tests.support.processes import is_running, processes_of
from tests.support.service import Service, running, wait_for


def config_for(folder: Path, workers: int) -> dict[str, Any]:
    saved_models.scale(folder / "model", 2.0)
    return {
        "endpoint": {"workers": workers},
        "models": [{"id": "m", "url": "./model", "datastore": "s"}],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("faults")
    with running(folder, config_for(folder, 2)) as service:
        yield service


def answers(service: Service) -> bool:
    try:
        response = service.post_anew("m", {"x": 4})
    except httpx.TransportError:
        return False
    return response.status_code == 200 and response.json()["data"] == {"y": 8.0}


def numbers(service: Service) -> dict[str, Any]:
    """All that mly's tools read of the model's requests, but the last minutes."""
    path = "/v1/api/metric/operation/mPerf"
    document: dict[str, Any] = service.get_anew(path).json()
    del document["Recent"]
    return document


def answers_are_counted(service: Service, before: int) -> bool:
    """Send 8 requests on new connections; return whether exactly these were counted."""
    for _ in range(8):
        assert answers(service)
    wait_for(lambda: numbers(service).get("Count", 0) >= before + 8)
    return bool(numbers(service)["Count"] == before + 8)


def test_a_worker_is_killed(service: Service) -> None:
    assert answers_are_counted(service, 0)
    victim, other = service.worker_pids()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: answers(service))
    wait_for(lambda: len(service.worker_pids()) == 2)
    assert other in service.worker_pids()
    assert answers_are_counted(service, 9)


def test_gunicorns_master_is_killed(service: Service) -> None:
    master = service.master_pid()
    workers = service.worker_pids()
    counted = numbers(service).get("Count", 0)
    os.kill(master, signal.SIGKILL)
    wait_for(lambda: not any(map(is_running, workers)))
    wait_for(lambda: len(service.worker_pids()) == 2)
    assert service.master_pid() != master
    assert answers_are_counted(service, counted)


def test_a_reload_still_reaches_restarted_workers(service: Service) -> None:
    before = service.version("m")
    saved_models.scale(service.folder / "model", 2.0 + 1e-7)
    wait_for(lambda: service.version("m") != before)
    wait_for(lambda: {m["version"] for m in service.states()} == {service.version("m")})


def test_metric_files_do_not_grow_with_recycled_workers(service: Service) -> None:
    files = {path.name for path in service.files.metrics.iterdir()}
    before = numbers(service)
    for _ in range(2):
        recycle_a_worker(service)
    assert numbers(service) == before
    assert answers_are_counted(service, before["Count"])
    after = {path.name for path in service.files.metrics.iterdir()}
    # One slot more than workers: a new one may start before the old one has ended.
    assert len(after) <= len(files) * 3 / 2


def recycle_a_worker(service: Service) -> None:
    victim = service.worker_pids()[0]
    os.kill(victim, signal.SIGTERM)
    wait_for(lambda: not is_running(victim))
    wait_for(lambda: len(service.worker_pids()) == 2)


def stop_and_check(service: Service, meanwhile: Callable[[], None]) -> None:
    """Stop a service: only its cached answers remain."""
    shared = service.files.shared
    assert shared.is_dir()
    service.client.close()
    service.process.send_signal(signal.SIGTERM)
    meanwhile()
    assert service.process.wait(120) == 0
    assert not processes_of(service.folder)
    assert {path.name for path in shared.iterdir()} == {"s"}  # for the next start
    clean = [sys.executable, "-m", "gomlx", "clean", "-c", "config.yaml"]
    subprocess.run(clean, cwd=service.folder, check=True)
    assert not shared.exists()
    remaining = {path.name for path in service.run_dir.iterdir()}
    assert remaining <= {"lock", "models"}


def test_answers_outlive_the_service(tmp_path: Path) -> None:
    with running(tmp_path, config_for(tmp_path, 1)) as service:
        assert answers(service)
        written = {"tier": "L1", "outcome": "written"}
        wait_for(lambda: service.metric("gomlx_cache_writes_total", **written) == 1)
        pids = [service.master_pid(), *service.worker_pids()]
        service.process.kill()
        service.process.wait(10)
        wait_for(lambda: not any(map(is_running, pids)))
        service.start()
        assert "hit" in service.post("m", {"x": 4}).headers["cache-status"]
        assert service.stop() == 0
        service.start()
        assert "hit" in service.post("m", {"x": 4}).headers["cache-status"]


HOLDING = """
import time
from pathlib import Path

HERE = Path.cwd()  # of the service


def hold(inputs, outputs):
    time.sleep(0.005)  # expensive: it runs in a thread
    (HERE / "running").touch()
    while (HERE / "held").exists():
        time.sleep(0.01)
    return outputs
"""


def test_running_requests_are_answered_before_the_end(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "model", 2.0)
    (tmp_path / "holding.py").write_text(HOLDING)
    model = {"id": "m", "url": "./model", "datastore": "s", "batch": {"max_rows": 1}}
    config = {
        "models": [model | {"transformer": "holding:hold"}],
        "datastores": [{"id": "s", "memory_mb": 16}],
    }
    with running(tmp_path, config) as service, ThreadPoolExecutor(1) as pool:
        xs = [*range(50)]
        rows = {"x": xs, "batch_size": len(xs)}
        connection = service.connect()
        idle = kept_alive(service)
        (tmp_path / "running").unlink()  # the version was tried and warmed
        (tmp_path / "held").touch()
        posting = pool.submit(connection.post, "/v1/api/model/m/eval", json=rows)
        wait_for((tmp_path / "running").exists)

        def release() -> None:
            assert idle.recv(1) == b""  # closed: the worker has begun to stop
            (tmp_path / "held").unlink()

        stop_and_check(service, release)
        response = posting.result()
        connection.close()
        idle.close()
    assert response.status_code == 200
    assert [row["y"] for row in response.json()["data"]] == [2.0 * x for x in xs]
    assert response.headers["connection"] == "close"


def kept_alive(service: Service) -> socket.socket:
    """Return a connection that has received an answer and is kept alive."""
    address = httpx.URL(service.url)
    made = socket.create_connection((address.host, address.port or 0), 60)
    made.sendall(b"GET /v1/api/model/m/eval?x=-1 HTTP/1.1\r\nhost: h\r\n\r\n")
    answer = b""
    while not answer.endswith(b"}}"):
        more = made.recv(1000)
        assert more, answer
        answer += more
    return made


def test_staged_files_that_vanish_are_staged_anew(tmp_path: Path) -> None:
    """Of a running service, and between two runs of one."""
    config = config_for(tmp_path, 1)
    with running(tmp_path, config) as service:
        (version,) = (service.run_dir / "models" / "m").iterdir()
        served = service.version("m")
        (version / "servable.json").unlink()
        for pid in service.worker_pids():
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: answers(service), 120, "the model to be staged anew")
        assert service.version("m") == served
        assert f"{version / 'servable.json'} is gone" in service.text()
        service.stop()
        next(iter((version / "saved_model").iterdir())).unlink()
        service.start()
        assert answers(service)
