"""A real service for tests: `gomlx serve` in a process of its own."""

import json
import os
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from gomlx.cli.service import stage_request
from gomlx.config.load import load_config
from gomlx.config.schema import Model
from gomlx.errors import StageFailed
from gomlx.runtime.rundir import RunDir
from tests.support.absent import without_them
from tests.support.processes import is_running, is_suspended, parent_of

T = TypeVar("T")
# For clients of services without TLS: httpx would load the system's certificate
# authorities for each client, which takes 40 ms.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def wait_for(condition: Callable[[], T], seconds: float = 90, what: str = "") -> T:
    """Return the first true value of a condition; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"still false after {seconds} s: {what or condition}")
        time.sleep(0.05)


class Service:
    """A running service: its URLs, its processes, its log.

    trust is the TLS context of its own client, which has the token of an admin if the
    config names a file of them.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        prefix: Sequence[str] = (),
        trust: ssl.SSLContext = PLAIN,
    ) -> None:
        self.folder = folder
        self.run_dir = folder / "run"
        self.files = RunDir(self.run_dir)
        self.log = folder / "log"
        self._prefix = prefix
        self._trust = trust
        self._client: httpx.Client | None = None
        self.passed: list[int] = []  # file descriptors, to its first process
        endpoint = {"port": 0, "workers": 1, "graceful_seconds": 10}
        document = {
            "run_dir": str(self.run_dir),
            "watch": {"poll_seconds": 0.5, "settle_seconds": 0.3},
            **config,
            "endpoint": endpoint | config.get("endpoint", {}),
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(document))
        self.workers: int = document["endpoint"]["workers"]
        self._environment = without_them(os.environ)
        if "drain_seconds" not in document["endpoint"]:
            # Not in the config: a tree of an older commit may read it.
            self._environment["GOMLX_ENDPOINT__DRAIN_SECONDS"] = "0"
        # Other tests keep all processors busy: a guest would get next to nothing.
        if "patient_seconds" not in document["watch"]:
            self._environment["GOMLX_WATCH__PATIENT_SECONDS"] = "0.01"
        self._headers: dict[str, str] = {}
        admin = document["endpoint"].get("admin")
        if admin and "token_file" in admin:
            token = (folder / admin["token_file"]).read_text().split()[0]
            self._headers["Authorization"] = f"Bearer {token}"

    def stage_all(self) -> None:
        """Stage every model, as an earlier run of the service would have done."""
        self.run_dir.mkdir(mode=0o700)
        (self.run_dir / "lock").touch()  # the folder is a run directory
        for model in self._models():
            with suppress(StageFailed):  # the service will report it
                self._stage(model, model.url)

    def stage(self, name: str, source: Path) -> None:
        """Stage a model from another source, in place of the service."""
        (model,) = (one for one in self._models() if one.id == name)
        self._stage(model, str(source))

    def _models(self) -> Sequence[Model]:
        return load_config(self.folder / "config.yaml").models

    def _stage(self, model: Model, url: str) -> None:
        # This process has already imported TensorFlow, which takes seconds.
        from gomlx.models.staging.stage import stage

        stage(replace(stage_request(model, self.files.models / model.id), url=url))

    def launch(self) -> None:
        """Start its first process, and wait for nothing."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    *self._prefix,
                    sys.executable,
                    "-m",
                    "gomlx",
                    "serve",
                    "-c",
                    "config.yaml",
                ],
                cwd=self.folder,
                env=self._environment,
                stderr=log,
                stdout=log,
                pass_fds=self.passed,
            )

    def start(self) -> None:
        self._close_client()
        self.launch()
        wait_for(self._has_started, 200, "the service to start")
        wait_for(lambda: "listening at" in self.text(), 200, "connections to be taken")
        line = next(x for x in self.text().splitlines() if "listening at" in x)
        self.url = line.split()[-1].rstrip('"}')  # the log may be JSON
        details = re.search(r"details are at (\S+),", self.text())
        self.details_url = details[1] if details else self.url
        self._client = self.connect()
        wait_for(self._is_settled, 200, "every model to be loaded, or to have failed")

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop it, and return the exit code."""
        self._close_client()
        self.process.send_signal(signum)
        return self.process.wait(120)

    @property
    def client(self) -> httpx.Client:
        """A client of the service, which must have started."""
        assert self._client
        return self._client

    def _close_client(self) -> None:
        if self._client:
            self._client.close()

    def text(self) -> str:
        return self.log.read_text()

    def connect(
        self, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Client:
        """Return a client with new connections, which any worker may accept."""
        given: dict[str, Any] = {
            "base_url": self.url,
            "timeout": 30,
            "verify": self._trust,
        } | options
        return httpx.Client(headers={**self._headers, **(headers or {})}, **given)

    def post(self, model: str, columns: Any, **kwargs: Any) -> httpx.Response:
        return self.client.post(f"/v1/api/model/{model}/eval", json=columns, **kwargs)

    def post_anew(self, model: str, columns: Any) -> httpx.Response:
        """Post on a new connection."""
        with self.connect() as client:
            return client.post(f"/v1/api/model/{model}/eval", json=columns)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def get_anew(self, path: str) -> httpx.Response:
        """Get on a new connection."""
        with self.connect() as client:
            return client.get(path)

    @contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """Suspend the other workers, so that this one accepts new connections.

        Otherwise the quickest worker accepts them, and a test never sees a slow one.
        """
        others = [other for other in self.worker_pids() if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            for other in others:
                wait_for(partial(is_suspended, other))
            yield
        finally:
            for other in others:
                with suppress(ProcessLookupError):
                    os.kill(other, signal.SIGCONT)

    def states(self) -> list[dict[str, Any]]:
        """Return what each worker reports of every model."""
        models: list[dict[str, Any]] = []
        for pid in self.worker_pids():
            with self.only(pid):
                with self.connect(base_url=self.details_url) as client:
                    models += client.get("/readyz").json()["models"].values()
        return models

    def ready(self) -> dict[str, Any]:
        document: dict[str, Any] = self.get("/readyz").json()
        return document

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's samples with these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        samples = (
            line.rpartition(" ")
            for line in self.get("/metrics").text.splitlines()
            if line.startswith((f"{name}{{", f"{name} "))
            and all(w in line for w in wanted)
        )
        return sum(float(value) for _, _, value in samples)

    def version(self, model: str) -> str:
        """Return the digest that the manifest names for a model, or ""."""
        manifest = json.loads(self.files.manifest.read_text())
        digest: str = manifest["versions"].get(model, {}).get("digest", "")
        return digest

    def worker_pids(self) -> list[int]:
        """Return the running workers that have announced themselves."""
        pids = [int(path.name) for path in self.files.workers.iterdir()]
        return [pid for pid in pids if is_running(pid)]

    def master_pid(self) -> int:
        (pid,) = {parent_of(pid) for pid in self.worker_pids()}
        return pid

    def _has_started(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(
                f"ended with {self.process.returncode}:\n{self.text()}"
            )
        return len(self.worker_pids_if_any()) >= self.workers

    def _is_settled(self) -> bool:
        return all(m["ready"] or "problem" in m for m in self.states())

    def worker_pids_if_any(self) -> list[int]:
        with suppress(FileNotFoundError):  # an earlier run's folder is being removed
            return self.worker_pids()
        return []


@contextmanager
def running(
    folder: Path,
    config: dict[str, Any],
    prefix: Sequence[str] = (),
    trust: ssl.SSLContext = PLAIN,
    stages: bool = False,
) -> Iterator[Service]:
    """Run a service, and stop it at the end, whatever happens.

    prefix: a command that runs the service's, for example in a network namespace.
    stages: let the service stage its models at the start, as on its first run. It
    always stages what changes while it runs.
    """
    service = Service(folder, config, prefix, trust)
    if not stages:
        service.stage_all()
    try:
        service.start()
        yield service
    except BaseException:
        if service.log.exists():
            sys.stderr.write(service.text()[-5000:])
        raise
    finally:
        if service.process.poll() is None:
            service.stop()
        shutil.rmtree(service.files.shared, ignore_errors=True)
