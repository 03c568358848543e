"""The servers that the suite is run against, each with its cache on."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import gomlx
from gomlx.conformance.options import (
    FormatName,
    LoadName,
    ProtocolName,
    RunOptions,
    Server,
)
from gomlx.conformance.recipe import ModelName
from tests.support.processes import restarting
from tests.support.redis_servers import free_port, server

_STOP_SECONDS = 60
_WAIT_SECONDS = 180.0
_TTL_SECONDS = 30
# Triton's Python backend, the cache and libraries are in the package nvidia-pytriton.
_TRITON = "pytriton/tritonserver"
_OWN_VERSION = {"gomlx": gomlx.__version__}


@dataclass(frozen=True)
class Trial:
    """A server that runs: its name and versions, and how the suite is to ask it."""

    name: str
    versions: Mapping[str, str]
    cache: str
    options: RunOptions


class Process:
    """A server's process, which can be restarted."""

    def __init__(
        self, command: Sequence[str], folder: Path, more: Mapping[str, str] = {}
    ) -> None:
        self._command = command
        self._folder = folder
        self._environment = {**os.environ, **more}

    def start(self) -> None:
        """Start it; what it prints is appended to FOLDER/log."""
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                env=self._environment,
                stdout=log,
                stderr=log,
            )

    def stop(self) -> None:
        """Stop it, and wait until it has ended."""
        self._process.terminate()
        self._process.wait(_STOP_SECONDS)


@contextmanager
def running(process: Process, folder: Path) -> Iterator[str]:
    """Run a server; yield a command of the shell that restarts it."""
    process.start()
    try:
        with restarting(process, folder / "restart") as command:
            yield command
    finally:
        process.stop()


@contextmanager
def gomlx_memory(folder: Path) -> Iterator[Trial]:
    """Run a service of two workers; its answers in shared memory survive a restart."""
    store = {"id": "answers", "memory_mb": 16, "ttl_seconds": _TTL_SECONDS}
    config = _config(store) | {"run_dir": "run"}
    config["endpoint"]["workers"] = 2
    with _service(folder, config) as (service, restart):
        options = RunOptions(
            service,
            wait_seconds=_WAIT_SECONDS,
            restart_command=restart,
            ttl_seconds=_TTL_SECONDS,
        )
        yield Trial("gomlx, L1", _OWN_VERSION, "shared memory of two workers", options)
    clean = [sys.executable, "-m", "gomlx", "clean", "-c", "config.yaml"]
    subprocess.run(clean, cwd=folder, check=True)


@contextmanager
def gomlx_redis(folder: Path) -> Iterator[Trial]:
    """Run two services without L1, which share a Redis whose values are signed."""
    keys = folder / "keys"
    keys.write_text("0a" * 32)
    keys.chmod(0o600)
    with ExitStack() as stack:
        redis = stack.enter_context(server(folder / "redis"))
        tiers = [{"connection": "near", "deadline_ms": 2000}]
        store = {"id": "answers", "memory_mb": 0, "ttl_seconds": _TTL_SECONDS}
        near = {"id": "near", "url": redis.url, "sign_key_file": str(keys)}
        connections = {"connections": [near | {"timeout_seconds": 30}]}
        (first, restart), (other, _) = (
            stack.enter_context(
                _service(folder / name, _config(store | {"tiers": tiers}) | connections)
            )
            for name in ("a", "b")
        )
        options = RunOptions(
            first,
            wait_seconds=_WAIT_SECONDS,
            restart_command=restart,
            redis_url=redis.url,
            ttl_seconds=_TTL_SECONDS,
            other=other,
        )
        cache = "Redis, shared by two hosts, with `sign_key_file`"
        yield Trial("gomlx, Redis", _OWN_VERSION, cache, options)


@contextmanager
def _service(folder: Path, config: dict[str, Any]) -> Iterator[tuple[Server, str]]:
    """Run a service; yield it and the command that restarts it."""
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "gomlx", "serve", "-c", "config.yaml"]
    tree = {"PYTHONPATH": str(Path(__file__).parents[2])}
    port = config["endpoint"]["port"]
    with running(Process(command, folder, tree), folder) as restart:
        yield Server(f"http://127.0.0.1:{port}", folder / "models"), restart


def _config(store: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "endpoint": {"port": free_port(), "workers": 1},
        "watch": {"poll_seconds": 0.5, "settle_seconds": 0.3},
        "models": [
            {"id": str(name), "url": f"models/{name}", "datastore": "answers"}
            for name in ModelName
        ],
        "datastores": [dict(store)],
    }


@contextmanager
def triton(folder: Path, environment: Path) -> Iterator[Trial]:
    """Run Triton's server of nvidia-pytriton with its local cache."""
    models = folder / "models"
    models.mkdir()
    python = environment / "bin" / "python"
    packages = _packages(python)
    home = packages / _TRITON
    port = free_port()
    command = [
        str(home / "bin" / "tritonserver"),
        f"--model-repository={models}",
        f"--backend-directory={_backends(home, python, folder)}",
        f"--cache-directory={home / 'caches'}",
        "--cache-config=local,size=16777216",
        "--model-control-mode=explicit",
        "--http-address=127.0.0.1",
        f"--http-port={port}",
        "--allow-grpc=false",
        "--allow-metrics=false",
    ]
    paths = {
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{_libraries(python)}",
        "PYTHONPATH": str(packages),
        "PATH": f"{environment / 'bin'}:{os.environ['PATH']}",
    }
    with running(Process(command, folder, paths), folder) as restart:
        options = RunOptions(
            Server(f"http://127.0.0.1:{port}", models),
            ProtocolName.oip,
            FormatName.triton,
            LoadName.api,
            _WAIT_SECONDS,
            restart_command=restart,
        )
        versions = {"nvidia-pytriton": _version(str(python), "nvidia-pytriton")}
        yield Trial(
            "Triton", versions, "local (`--cache-config=local,size=…`)", options
        )


def _backends(home: Path, python: Path, folder: Path) -> Path:
    """Return a folder with the Python backend and the stub of a Python's version."""
    version = _said(python, "import sys; print('%d.%d' % sys.version_info[:2])")
    backend = folder / "backends" / "python"
    backend.mkdir(parents=True)
    stub = home / "python_backend_stubs" / version / "triton_python_backend_stub"
    for path in [*(home / "backends" / "python").iterdir(), stub]:
        if not (backend / path.name).exists() and path.is_file():
            (backend / path.name).symlink_to(path)
    return backend.parent


@contextmanager
def mlserver(folder: Path, environment: Path) -> Iterator[Trial]:
    """Run MLServer with its cache."""
    models = folder / "models"
    models.mkdir()
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "cache_enabled": True,
        "cache_size": 1000,
    }
    (models / "settings.json").write_text(json.dumps(settings))
    command = [str(environment / "bin" / "mlserver"), "start", str(models)]
    # Its workers would import this project's modules.
    nothing = {"PYTHONPATH": ""}
    with running(Process(command, folder, nothing), folder) as restart:
        options = RunOptions(
            Server(f"http://127.0.0.1:{port}", models),
            ProtocolName.oip,
            FormatName.mlserver,
            LoadName.api,
            _WAIT_SECONDS,
            restart_command=restart,
        )
        python = str(environment / "bin" / "python")
        versions = {name: _version(python, name) for name in ("mlserver", "uvloop")}
        yield Trial("MLServer", versions, "`cache_enabled`, `cache_size`", options)


def _packages(python: Path) -> Path:
    return Path(_said(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))


def _libraries(python: Path) -> str:
    return _said(python, "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))")


def _version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version('{package}'))"
    return _said(Path(python), code)


def _said(python: Path, code: str) -> str:
    done = subprocess.run(
        [str(python), "-c", code], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
