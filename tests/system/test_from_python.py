"""A service without a config file: from the command line, and from Python."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest

import gomlx
from tests.support import saved_models
from tests.support.service import wait_for


def children(pid: int) -> list[int]:
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()]


def test_a_service_for_the_time_of_a_block(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "double", 2.0)
    saved_models.scale(tmp_path / "triple" / "1", 3.0)
    models = [tmp_path / "double", tmp_path / "triple"]
    with gomlx.running(models, cache_mb=16) as service:
        for name, factor in {"double": 2, "triple": 3}.items():
            with gomlx.Client(name, service.url) as client:
                assert client.predict(x=2.0) == {"y": 2.0 * factor}
        with urlopen(f"{service.url}/readyz") as ready:
            assert json.load(ready)["ready"]
        assert service.is_running()
        pids = children(service.process.pid)
        assert pids
    assert service.process.returncode == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_config_as_a_dict(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    config = {
        "models": [{"id": "x2", "url": str(tmp_path / "m")}],
        "endpoint": {"port": 0, "workers": 1},
    }
    with (
        gomlx.running(config) as service,
        gomlx.Client("x2", service.url) as client,
    ):
        assert client.predict(x=2.0) == {"y": 4.0}


def test_a_model_that_cannot_be_served_is_told_at_once(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(gomlx.NotReady, match="model 'broken': "), gomlx.running(broken):
        pass


def test_a_service_that_cannot_start(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    with (
        gomlx.running(tmp_path / "m") as service,
        pytest.raises(gomlx.GomlxError, match="has ended"),
        gomlx.running(tmp_path / "m", port=int(service.url.rpartition(":")[2])),
    ):
        pass
    with pytest.raises(gomlx.ConfigInvalid), gomlx.running({"models": []}):
        pass


def test_a_service_ends_with_the_process_that_has_it(tmp_path: Path) -> None:
    saved_models.scale(tmp_path / "m", 2.0)
    code = (
        "import gomlx, time\n"
        "with gomlx.running('m') as service:\n"
        "    print(service.process.pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as owner:
        assert owner.stdout
        pid = int(owner.stdout.readline())
        owner.kill()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), 60)


@pytest.mark.parametrize("way", ["command", "function"])
def test_models_without_a_config(tmp_path: Path, way: str) -> None:
    saved_models.scale(tmp_path / "double", 2.0)
    call = "import gomlx; gomlx.serve('double', port=0, cache_mb=16)"
    arguments = {
        "command": ["-m", "gomlx", "serve", "./double", "--cache-mb", "16"],
        "function": ["-c", call],
    }
    environment = os.environ | {"GOMLX_ENDPOINT__WORKERS": "1"}
    if way == "command":
        environment["GOMLX_ENDPOINT__PORT"] = "0"
    with subprocess.Popen(
        [sys.executable, *arguments[way]],
        cwd=tmp_path,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "listening at" in line)
        url = line.split()[-1]
        try:
            answer = wait_for(lambda: predicted(url))
        finally:
            process.send_signal(signal.SIGTERM)
        process.stderr.read()
        assert answer == {"y": 4.0}
        assert process.wait(60) == 0


def predicted(url: str) -> gomlx.Answer | None:
    try:
        with gomlx.Client("double", url) as client:
            return client.predict(x=2.0)
    except gomlx.GomlxError:  # it has not started yet
        return None
