"""A real service for tests: `gomlx serve` as a process of its own."""

import json
import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import yaml

from gomlx.cli.service import request_of
from gomlx.config.load import load_config
from gomlx.errors import StageFailed
from gomlx.runtime.rundir import RunDir

T = TypeVar("T")
# For clients of services without TLS: to read the certificates of the world's
# authorities, which httpx does for each client, takes 40 ms.
PLAIN = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def wait_for(condition: Callable[[], T], seconds: float = 90, what: str = "") -> T:
    """Return the first true value of a condition; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what or condition}")
        time.sleep(0.05)


class Service:
    """A running service: its URL, its processes, its log.

    trust: how its own client takes TLS.
    """

    def __init__(
        self,
        folder: Path,
        config: dict[str, Any],
        prefix: Sequence[str] = (),
        trust: ssl.SSLContext = PLAIN,
    ) -> None:
        self.folder, self.run_dir = folder, folder / "run"
        self._prefix, self._trust = prefix, trust
        self.log = folder / "log"
        self._client: httpx.Client | None = None
        endpoint = {"port": 0, "workers": 1, "graceful_seconds": 10}
        document = {
            "run_dir": str(self.run_dir),
            "watch": {"poll_seconds": 0.5, "settle_seconds": 0.3},
            **config,
            "endpoint": endpoint | config.get("endpoint", {}),
        }
        (folder / "config.yaml").write_text(yaml.safe_dump(document))
        self.workers: int = document["endpoint"]["workers"]

    def stage_all(self) -> None:
        """Leave the staged versions that an earlier run of the service would have."""
        self.run_dir.mkdir(mode=0o700)
        (self.run_dir / "lock").touch()  # the folder is a run directory
        for model in load_config(self.folder / "config.yaml").models:
            with suppress(StageFailed):  # the service will say so
                self.stage(model.id)

    def stage(self, model: str, source: Path | None = None) -> None:
        """Stage what a model's source, or another, holds; the service need not then.

        This process has imported TensorFlow; the service's would first take seconds to.
        """
        from gomlx.models.staging.stage import stage

        asked = request_of(model, self.folder / "config.yaml")
        url, into = str(source or asked.url), RunDir(self.run_dir).models / model
        stage(replace(asked, url=url, into=into))

    def start(self) -> None:
        self._let_go()
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
                stderr=log,
                stdout=log,
            )
        wait_for(self._has_started, 200, "the service to start")
        line = next(x for x in self.text().splitlines() if "listening at" in x)
        self.url = line.split()[-1]
        self._client = self.connect()
        wait_for(self._is_settled, 200, "every model to be loaded, or to have failed")

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """Stop it, and return the exit code."""
        self._let_go()
        self.process.send_signal(signum)
        return self.process.wait(120)

    @property
    def client(self) -> httpx.Client:
        """A client of a service that has started."""
        assert self._client
        return self._client

    def _let_go(self) -> None:
        if self._client:
            self._client.close()

    def text(self) -> str:
        return self.log.read_text()

    def connect(self, **options: Any) -> httpx.Client:
        """A client with connections of its own, so to whichever worker takes them."""
        return httpx.Client(
            base_url=self.url, timeout=30, verify=self._trust, **options
        )

    def post(self, model: str, question: Any, **kwargs: Any) -> httpx.Response:
        return self.client.post(f"/v1/api/model/{model}/eval", json=question, **kwargs)

    def post_anew(self, model: str, question: Any) -> httpx.Response:
        """Ask on a new connection."""
        with self.connect() as client:
            return client.post(f"/v1/api/model/{model}/eval", json=question)

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def get_anew(self, path: str) -> httpx.Response:
        """Get on a new connection."""
        with self.connect() as client:
            return client.get(path)

    @contextmanager
    def only(self, pid: int) -> Iterator[None]:
        """Stop the other workers for a while: new connections come to this one.

        Whichever is the quickest takes a connection, and the one that lags behind, of
        which a test has to know, takes none.
        """
        others = [other for other in self.worker_pids() if other != pid]
        for other in others:
            os.kill(other, signal.SIGSTOP)
        try:
            for other in others:
                wait_for(partial(_stands_still, other))
            yield
        finally:
            for other in others:
                with suppress(ProcessLookupError):
                    os.kill(other, signal.SIGCONT)

    def states(self) -> list[dict[str, Any]]:
        """What each worker says of every model."""
        models: list[dict[str, Any]] = []
        for pid in self.worker_pids():
            with self.only(pid):
                models += self.get_anew("/readyz").json()["models"].values()
        return models

    def ready(self) -> dict[str, Any]:
        document: dict[str, Any] = self.get("/readyz").json()
        return document

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        samples = (
            line.rpartition(" ")
            for line in self.get("/metrics").text.splitlines()
            if line.startswith((f"{name}{{", f"{name} "))
            and all(w in line for w in wanted)
        )
        return sum(float(value) for _, _, value in samples)

    def version(self, model: str) -> str:
        """The digest that the manifest names for a model."""
        manifest = json.loads((self.run_dir / "manifest.json").read_text())
        digest: str = manifest["versions"].get(model, {}).get("digest", "")
        return digest

    def worker_pids(self) -> list[int]:
        """The workers that have announced themselves and still run."""
        pids = [int(path.name) for path in (self.run_dir / "workers").iterdir()]
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
        return self.worker_pids() if (self.run_dir / "workers").is_dir() else []


def is_running(pid: int) -> bool:
    return state_of(pid) not in ("", "Z")


def _stands_still(pid: int) -> bool:
    return state_of(pid) in ("T", "Z", "")


def state_of(pid: int) -> str:
    """What the kernel says of a process: R, S, T (stopped), Z…; nothing: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def processes_of(folder: Path) -> list[int]:
    """Every process whose command line names the folder."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal() and int(path.name) != os.getpid():
            try:
                command = (path / "cmdline").read_bytes()
            except OSError:
                continue
            if bytes(folder) in command and is_running(int(path.name)):
                found.append(int(path.name))
    return found


@contextmanager
def running(
    folder: Path,
    config: dict[str, Any],
    prefix: Sequence[str] = (),
    trust: ssl.SSLContext = PLAIN,
    stages: bool = False,
) -> Iterator[Service]:
    """A service that is stopped at the end, whatever happens.

    prefix: a command that runs the service's, in a network namespace, say. stages:
    whether it has to stage its models itself, as one that is started for the first
    time; what changes while it runs it always does.
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
        shutil.rmtree(RunDir(service.run_dir).shared, ignore_errors=True)
