"""A signal at any moment of a service's life ends it, and leaves no process behind."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from gomlx.runtime.rundir import RunDir
from tests.support import saved_models
from tests.support.processes import is_suspended, processes_in
from tests.support.service import Service, wait_for

_MOMENTS: dict[str, Callable[[Service], bool]] = {
    "Python starts": lambda service: True,
    "the run directory is there": lambda service: (service.run_dir / "lock").exists(),
    "staging": lambda service: any(service.run_dir.glob("models/*/.staging-*")),
    "published": lambda service: bool(_published(service)),
    "a worker is loading": lambda service: any(service.files.slots.glob("*")),
    "a worker has loaded": lambda service: any(service.files.workers.glob("*")),
}


def _published(service: Service) -> str:
    with suppress(OSError, ValueError):
        return service.version("m")
    return ""


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """A service that has not started."""
    saved_models.scale(tmp_path / "model", 2.0)
    config = {
        "endpoint": {"graceful_seconds": 3},
        "models": [{"id": "m", "url": "./model"}],
    }
    service = Service(tmp_path, config)
    yield service
    for pid in processes_in(tmp_path):
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(RunDir(service.run_dir).shared, ignore_errors=True)


def wait_until(service: Service, moment: str) -> None:
    """Wait for a moment, more closely than `wait_for` does."""
    has_come = _MOMENTS[moment]
    deadline = time.monotonic() + 120
    while not has_come(service):
        assert service.process.poll() is None, service.text()
        assert time.monotonic() < deadline, moment
        time.sleep(0.002)


_ALONE = [(moment, "the supervisor alone") for moment in _MOMENTS]
_LATE = [(moment, "all processes") for moment in [*_MOMENTS][2::2]]


@pytest.mark.parametrize(("moment", "who"), [*_ALONE, *_LATE])
def test_a_signal_ends_it(service: Service, moment: str, who: str) -> None:
    service.launch()
    wait_until(service, moment)
    everyone = processes_in(service.folder)
    service.process.send_signal(signal.SIGTERM)
    for pid in everyone if who == "all processes" else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    # The graceful time and ten seconds, and what a busy machine takes.
    code = service.process.wait(60)
    assert "it ends here" not in service.text()
    assert code in (0, -signal.SIGTERM), service.text()
    wait_for(lambda: not processes_in(service.folder), 10, "no process to remain")


def test_a_start_waits_for_the_workers_of_a_supervisor_that_was_killed(
    service: Service,
) -> None:
    config = service.folder / "config.yaml"
    document = yaml.safe_load(config.read_text())
    document["endpoint"]["graceful_seconds"] = 60
    config.write_text(yaml.safe_dump(document))
    service.stage_all()
    service.start()
    document["endpoint"]["port"] = int(service.url.rpartition(":")[2])
    config.write_text(yaml.safe_dump(document))
    (worker,) = service.worker_pids()
    os.kill(worker, signal.SIGSTOP)  # it cannot end
    wait_for(lambda: is_suspended(worker))
    assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    service.launch()
    wait_for(lambda: "A supervisor was killed" in service.text())
    assert str(worker) in service.text()
    os.kill(worker, signal.SIGCONT)
    wait_for(lambda: f"listening at {service.url}" in service.text())
    assert service.post_anew("m", {"x": 1.0}).json()["data"] == {"y": 2.0}
    assert service.stop() == 0
