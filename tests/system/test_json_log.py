"""A life from start to stop, with all that goes wrong in it: the log is JSON."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import saved_models
from tests.support.certificates import Endpoint
from tests.support.service import Service, running, wait_for

CERTIFICATES = "gomlx.server.http.tls.certificates"
pytestmark = pytest.mark.timeout(120)


def records(service: Service) -> list[dict[str, Any]]:
    """Every line of the log."""
    return [json.loads(line) for line in service.text().splitlines()]


def says(service: Service, words: str, **fields: Any) -> bool:
    return any(
        words in one["message"] and all(one[k] == v for k, v in fields.items())
        for one in records(service)
    )


def test_every_line_parses(tmp_path: Path) -> None:
    endpoint = Endpoint(tmp_path / "tls")
    saved_models.scale(tmp_path / "m", 2.0)
    config = {
        "log_format": "json",
        "models": [
            {"id": "m", "url": "m"},
            {"id": "apart", "url": "m", "isolate": {"memory_mb": 512}},
            {"id": "broken", "url": "broken"},
        ],
        "endpoint": {"tls": endpoint.config()},
    }
    with running(tmp_path, config, trust=endpoint.trust()) as service:
        assert service.post("m", {"x": 1.0}).json()["data"] == {"y": 2.0}
        assert service.post("apart", {"x": 1.0}).json()["data"] == {"y": 2.0}
        assert says(service, "broken")
        reload(service)
        endpoint.issue()
        wait_for(lambda: says(service, "certificate", logger=CERTIFICATES))
        crash(service)
        assert service.stop() == 0
        check(service)


def reload(service: Service) -> None:
    before = service.version("m")
    saved_models.scale(service.folder / "m", 3.0)
    wait_for(lambda: service.version("m") != before)
    wait_for(lambda: says(service, f"version {service.version('m')} is live"))


def crash(service: Service) -> None:
    (worker,) = service.worker_pids()
    os.kill(worker, signal.SIGSEGV)
    wait_for(lambda: says(service, "was sent SIGSEGV", logger="gunicorn.error"))
    words = "Fatal Python error: Segmentation fault"
    wait_for(lambda: says(service, words, pid=worker, level="critical"))
    wait_for(lambda: says(service, "(total: ", pid=worker))  # the last ones


def check(service: Service) -> None:
    found = records(service)
    names = {"time", "level", "logger", "pid", "message"}
    for one in found:
        assert names <= one.keys() <= names | {"exception"}
        assert one["time"][-1] == "Z"
        assert isinstance(one["pid"], int)
    assert len({one["pid"] for one in found}) >= 3  # supervisor, master, worker
    assert not any("oneDNN" in one["message"] for one in found)
    assert [one["message"] for one in found][-1] == "stopped"


def test_a_service_that_cannot_start_says_so_in_json(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    config = {
        "log_format": "json",
        "models": [{"id": "m", "url": "m"}],
        "endpoint": {"host": "192.0.2.1"},
    }
    service = Service(tmp_path, config)
    service.launch()
    assert service.process.wait(60) == 1
    *_, one = records(service)  # after a warning of what is open to everybody
    assert one["level"] == "critical"
    assert "cannot listen on 192.0.2.1" in one["message"]
