"""A service that faults happen to, with all that belongs to it."""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any

import httpx

from gomlx.cli.service import request_of
from loadtests.faults.answers import Answers
from loadtests.load import procfs
from loadtests.load.traffic import Rows
from tests.support.certificates import Endpoint
from tests.support.processes import is_running, state_of
from tests.support.redis_servers import Server
from tests.support.relay import Relay
from tests.support.service import Service, wait_for

_STEP_SECONDS = 0.002
_LOOKS = 4  # at new connections, so that several workers are seen


@dataclass
class Store:
    """The Redis of a service: a server behind a relay, and the masters of a cluster.

    again: ends the servers that faults start.
    """

    redis: Server
    relay: Relay
    nodes: Sequence[Server]
    again: ExitStack


@dataclass(frozen=True)
class Sources:
    """The SavedModels that versions of `m` are made of, by name, and their rows.

    hostile: one that may not be served.
    """

    paths: dict[str, Path]
    rows: Rows
    hostile: Path


@dataclass
class Scene:
    """A running service, and what is known of it. tls: its files, if it has some.

    live: the name of the source of m's live version. lost: ports of the clients whose
    connections died with a killed process. ends: when all of the service died, from
    when to when. notes: what a fault has to tell.
    """

    service: Service
    sources: Sources
    answers: Answers
    store: Store | None = None
    tls: Endpoint | None = None
    live: str = "A"
    lost: set[int] = field(default_factory=set)
    ends: list[tuple[float, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        """The port of the service."""
        return httpx.URL(self.service.url).port or 0

    @property
    def redis(self) -> Store:
        """The Redis of the service, which has to have one."""
        assert self.store
        return self.store

    def peers(self, pids: Iterable[int] | None = None) -> set[int]:
        """Return the ports of the clients of processes; None: of all."""
        return procfs.peers(self.port, pids)

    def kill(self, pids: Iterable[int]) -> None:
        """Kill processes by SIGKILL, and note whose connections they hold."""
        victims = list(pids)
        for pid in victims:
            os.kill(pid, signal.SIGSTOP)  # then they accept no more
        for pid in victims:
            until(lambda pid=pid: state_of(pid) in ("T", "Z", ""), 5)  # type: ignore[misc]
        self.lost |= self.peers(victims)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(is_running, victims)), 5)

    def busiest(self) -> int:
        """Return the worker that holds most connections."""
        workers = self.service.worker_pids()
        return max(workers, key=lambda pid: len(self.peers([pid])))

    def kill_supervisor(self) -> None:
        """Kill the supervisor by SIGKILL; all others have to end with it.

        Connections that are made meanwhile are nobody's: all that end then may fail.
        """
        family = procfs.family(self.service.process.pid)
        began = perf_counter()
        self.service.process.kill()
        self.service.process.wait()
        wait_for(lambda: not any(map(is_running, family)), 20, "its children to end")
        self.ends.append((began, perf_counter()))

    def put(self, name: str, model: str = "m") -> None:
        """Put another source in place of a model's, in one step."""
        self.put_folder(self.sources.paths[name], model)
        self.live = name

    def put_folder(self, source: Path, model: str = "m") -> None:
        """Put a copy of any folder in place of a model's source."""
        target = self.service.folder / model
        new = target.with_suffix(".new")
        shutil.copytree(source, new, symlinks=True)
        old = target.with_suffix(".old")
        if target.exists():
            target.rename(old)
        new.rename(target)
        shutil.rmtree(old, ignore_errors=True)

    def following(self) -> str:
        """Return the name of another source of m, which was live longest ago."""
        names = [*self.sources.paths]
        return names[(names.index(self.live) + 1) % len(names)]

    def digest(self, model: str = "m") -> str:
        """Return the digest that the manifest names for a model, or ""."""
        with suppress(OSError, ValueError, KeyError):
            return self.service.version(model)
        return ""

    def is_as_before(self) -> bool:
        """Tell whether all workers run, all models and tiers work, and m is right."""
        service = self.service
        with suppress(httpx.TransportError, OSError):
            workers = service.worker_pids_if_any()
            is_whole = len(workers) == service.workers
            live = self.digest()
            is_right = self.answers.paths.get(live) == self.sources.paths[self.live]
            staged = service.files.models / "m" / live / "servable.json"
            is_staged = staged.exists()
            return is_whole and is_right and is_staged and all(self._looks())
        return False

    def _looks(self) -> Iterator[bool]:
        for _ in range(_LOOKS):
            document = self.service.get_anew("/readyz").json()
            yield document["ready"] and not _problems(document)


def _problems(document: dict[str, Any]) -> list[Any]:
    """Return what /readyz says of models and tiers that do not work."""
    models = document["models"].values()
    tiers = [tier for s in document.get("tiers", {}).values() for tier in s.values()]
    is_open = [tier for tier in tiers if tier.get("state", "closed") != "closed"]
    return is_open + [o for o in (*models, *tiers) if {"problem", "writes"} & {*o}]


def until(condition: Callable[[], object], seconds: float) -> None:
    """Wait for a condition more closely than `wait_for`. Raises AssertionError."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"still false after {seconds} s"
        time.sleep(_STEP_SECONDS)


@contextmanager
def opened(
    folder: Path,
    config: dict[str, Any],
    sources: Sources,
    **options: Any,
) -> Iterator[Scene]:
    """Run a service that has a model m, made of the source A.

    options: `prefix` and `trust` of the service; the others are fields of the scene.
    """
    of_service = {k: options.pop(k) for k in ("prefix", "trust") if k in options}
    service = Service(folder, config, **of_service)
    answers = Answers()
    scene = Scene(service, sources, answers, **options)
    try:
        scene.put("A")
        service.stage_all()
        for model in (one["id"] for one in config["models"]):
            _learn(scene, model, folder.parent / f"{folder.name}-scratch")
        service.start()
        yield scene
    finally:
        _end(service)


def _learn(scene: Scene, model: str, scratch: Path) -> None:
    """Learn the digests of the versions of a model, by staging them elsewhere."""
    from gomlx.models.staging.stage import stage

    request = request_of(model, scene.service.folder / "config.yaml")
    paths = {Path(request.url).resolve(): Path(request.url)}
    if Path(request.url) == scene.service.folder / "m":
        paths = {path: path for path in scene.sources.paths.values()}
    for n, path in enumerate(paths):
        into = scratch / model / str(n)
        version = stage(replace(request, url=str(path), into=into))
        scene.answers.learn(version.digest, path)
    shutil.rmtree(scratch, ignore_errors=True)


def _end(service: Service) -> None:
    """End a service, whatever state it is in."""
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, service.files.shared, ignore_errors=True)
        process = getattr(service, "process", None)
        if process and process.poll() is None:
            process.send_signal(signal.SIGCONT)
            service.stop()
