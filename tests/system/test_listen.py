"""When a service takes connections, and what probes are told before."""

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from tests.support import saved_models
from tests.support.service import Service, wait_for

# A library of a model, whose import takes until a file is there.
GATED = """
import pathlib, time
while not pathlib.Path(__file__).with_name("gate").exists():
    time.sleep(0.05)
"""
MODELS = [
    {"id": "m", "url": "m"},
    {"id": "late", "url": "m", "libraries": ["gated"]},
    {"id": "broken", "url": "nothing"},
]


@contextmanager
def launched(folder: Path, listen: str) -> Iterator[Service]:
    """Start a service that can stage the model `late` once there is a file `gate`."""
    saved_models.scale(folder / "m", 2.0)
    (folder / "gated.py").write_text(GATED)
    endpoint = {"listen": listen, "workers": 2}
    prefix = ["env", f"PYTHONPATH={folder}:{Path(__file__).parents[2]}"]
    service = Service(folder, {"models": MODELS, "endpoint": endpoint}, prefix)
    service.launch()
    try:
        pattern = re.compile(r"(\S+) takes connections")
        service.url = wait_for(lambda: pattern.findall(service.text()))[0]
        yield service
    finally:
        service.process.kill()
        service.process.wait()
        shutil.rmtree(service.files.shared, ignore_errors=True)


def address(service: Service) -> tuple[str, int]:
    url = httpx.URL(service.url)
    assert url.port
    return url.host, url.port


def connects(service: Service) -> bool:
    try:
        socket.create_connection(address(service), 30).close()
    except ConnectionRefusedError:
        return False
    return True


def test_connections_are_refused_until_every_model_answers_or_fails(
    tmp_path: Path,
) -> None:
    with launched(tmp_path, "ready") as service:
        wait_for(lambda: "model m: version" in service.text())  # it is live in a worker
        assert not connects(service)
        assert "listening at" not in service.text()
        assert_nobody_else_can_have_the_port(service)
        (tmp_path / "gate").touch()
        wait_for(lambda: connects(service))
        with service.connect() as client:  # from the first connection on
            for model in ("m", "late"):
                answer = client.post(f"/v1/api/model/{model}/eval", json={"x": 1.0})
                assert answer.json()["data"] == {"y": 2.0}
        wait_for(lambda: f"listening at {service.url}" in service.text())


def assert_nobody_else_can_have_the_port(service: Service) -> None:
    other = service.folder / "other"
    other.mkdir()
    config = yaml.safe_load((service.folder / "config.yaml").read_text())
    host, port = address(service)
    config["endpoint"] |= {"port": port}
    config["run_dir"] = str(other / "run")
    (other / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "gomlx", "serve", "-c", str(other / "config.yaml")]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    assert f"cannot listen on {host}:{port}" in done.stderr


def test_probes_are_answered_while_a_model_is_staged(tmp_path: Path) -> None:
    with launched(tmp_path, "at_once") as service:
        wait_for(lambda: connects(service))
        wait_for(lambda: "listening at" in service.text())
        with service.connect() as client:
            assert client.get("/livez").status_code == 200
            assert client.get("/readyz").status_code == 503
            answered = 0
            while "model m: version" not in service.text():  # staged and imported
                with service.connect() as prober:
                    assert prober.get("/readyz").status_code == 503
                answered += 1
            assert answered > 10
            refused = client.post("/v1/api/model/late/eval", json={"x": 1.0})
            assert refused.status_code == 503
        service.process.terminate()
        assert service.process.wait(60) == 0
