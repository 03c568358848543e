"""An event loop that hangs ends its worker; a long run in a thread does not."""

import os
import signal
from collections.abc import Iterator
from functools import partial

import httpx
import pytest
import yaml

from tests.support import saved_models
from tests.support.service import Service, running, wait_for
from tests.system.test_values_decide import TURNS, counting

TRANSFORMER = """
import threading
import time
from pathlib import Path

def answer(inputs, outputs):
    if inputs["x"] == 13:
        time.sleep(600)  # in the event loop, since it has been cheap so far
    return outputs

def waits(inputs, outputs):
    hang = Path("FOLDER/hang")  # this file is copied
    loads = threading.current_thread().name.startswith("load-")
    while loads and hang.exists():
        time.sleep(0.05)
    return outputs
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("hangs")
    counting(folder / "counting")
    saved_models.scale(folder / "scale", 2.0)
    (folder / "hanging_transformer.py").write_text(
        TRANSFORMER.replace("FOLDER", str(folder))
    )
    config = {
        "endpoint": {"worker_timeout_seconds": 2},
        "watch": {"stage_seconds": 5},
        "models": [
            {"id": "counting", "url": "./counting", "batch": {"rows": "alone"}},
            {
                "id": "hangs",
                "url": "./scale",
                "transformer": "hanging_transformer:answer",
            },
            {
                "id": "waits",
                "url": "./scale",
                "transformer": "hanging_transformer:waits",
            },
        ],
    }
    prefix = [
        "env",
        f"PYTHONPATH={folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        with running(folder, config, prefix) as one:
            yield one


def test_a_long_run_in_a_thread_ends_no_worker(service: Service) -> None:
    before = service.worker_pids()
    turns = TURNS
    while True:
        long = service.post("counting", {"x": turns})
        assert long.json()["data"] == {"y": turns}
        if long.elapsed.total_seconds() > 3:
            break
        turns *= 2
    assert service.worker_pids() == before
    assert "has not run" not in service.text()


def test_a_loop_that_hangs_ends_its_worker(service: Service) -> None:
    before = service.worker_pids()
    assert service.post("hangs", {"x": 1.0}).json()["data"] == {"y": 2.0}
    with pytest.raises(httpx.TransportError):
        service.post("hangs", {"x": 13.0})
    wait_for(lambda: service.worker_pids() not in ([], before))
    assert service.post_anew("hangs", {"x": 2.0}).json()["data"] == {"y": 4.0}
    log = service.text()
    assert log.count("the event loop has not run for 1.") == 1
    assert "time.sleep(600)" in log
    assert "the event loop has not run for 2 s: replaced" in log


def test_a_load_that_hangs_leaves_the_live_version(service: Service) -> None:
    """A new config has the version loaded anew, and its warming never ends."""

    def problem() -> str:
        found: str = service.ready()["models"]["waits"].get("problem", "")
        return found

    def answers(model: str) -> bool:
        answer = service.post_anew(model, {"x": 3.0})
        return answer.status_code == 200 and answer.json()["data"] == {"y": 6.0}

    def look_again() -> bool:
        for pid in service.worker_pids():
            os.kill(pid, signal.SIGUSR2)
        return not problem()

    wait_for(partial(answers, "waits"))
    hang = service.folder / "hang"
    hang.touch()
    try:
        path = service.folder / "config.yaml"
        document = yaml.safe_load(path.read_text())
        document["models"][-1]["batch"] = {"max_rows": 32}
        path.write_text(yaml.safe_dump(document))
        service.process.send_signal(signal.SIGHUP)
        wait_for(lambda: "over 5 s to load and warm it" in problem())
        assert answers("waits")
        assert answers("hangs")
    finally:
        hang.unlink()
    wait_for(look_again)
    assert answers("waits")
