"""A service with two models, a shared tier and what happens to them."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loadtests.soak.clients import Clients
from loadtests.soak.schedule import Kind
from tests.support import saved_models
from tests.support.redis_servers import server
from tests.support.relay import Relay
from tests.support.service import Service, running
from tests.system.test_tiers import Faulty, flushed, full, slow, stopped

MODELS = ["a", "b"]
_VERSIONS = 6  # of each model, which come again
_FAULT_SECONDS = 2.0
_STAGED_SECONDS = 90.0
_REDIS = {
    Kind.STOPPED: stopped,
    Kind.FLUSHED: flushed,
    Kind.SLOW: slow,
    Kind.FULL: full,
}


class Versions:
    """Models in all their versions, and which of them each source has.

    A version's factor is its number in `folder`.
    """

    def __init__(self, folder: Path, rng: random.Random) -> None:
        self._folder = folder
        self._rng = rng
        self._next = dict.fromkeys(MODELS, 0)
        for number in range(_VERSIONS):
            saved_models.scale(folder / str(number), number + 2.0)

    def source(self, model: str) -> Path:
        """The folder that the service watches."""
        return self._folder / model

    def install(self, model: str, is_new: bool) -> float:
        """Give a model another version, at once; return its factor."""
        last = self._next[model]
        number = (last + 1) % _VERSIONS if is_new else (last - 1) % _VERSIONS
        self._next[model] = number
        self._swap(model, self._folder / str(number))
        return number + 2.0

    def damage(self, model: str) -> None:
        """Give a model files that cannot be staged."""
        broken = self._folder / "broken"
        shutil.copytree(self._folder / "0", broken)
        data = (broken / "saved_model.pb").read_bytes()
        (broken / "saved_model.pb").write_bytes(self._rng.randbytes(99) + data[:-99])
        self._swap(model, broken)
        shutil.rmtree(broken)

    def _swap(self, model: str, files: Path) -> None:
        new = self._folder / "new"
        shutil.copytree(files, new)
        old = self._folder / "old"
        if self.source(model).exists():
            self.source(model).rename(old)
        new.rename(self.source(model))
        shutil.rmtree(old, ignore_errors=True)


class Life:
    """Lets things happen to a service."""

    def __init__(
        self, faulty: Faulty, versions: Versions, clients: Clients, folder: Path
    ) -> None:
        self._faulty = faulty
        self._versions = versions
        self._clients = clients
        self._folder = folder
        self._staging = asyncio.Lock()  # one change of a model at a time
        self._fault = asyncio.Lock()  # one fault of Redis at a time
        self._restarted = ExitStack()
        for model in MODELS:
            clients.factors[faulty.service.version(model)] = 3.0

    async def let(self, kind: Kind, rng: random.Random) -> None:
        """Let one thing happen, and wait until it is over."""
        if kind in (Kind.RELOADED, Kind.RETURNED, Kind.BROKEN):
            async with self._staging:
                await self._change(rng.choice(MODELS), kind)
        elif kind in (Kind.WORKER, Kind.MASTER):
            self._kill(kind)
        elif kind is Kind.BURST:
            await self._clients.burst(60, 2.0)
        elif kind is Kind.HOSTILE:
            await self._clients.be_hostile()
        else:
            async with self._fault:
                await self._disturb(kind)

    async def _change(self, model: str, kind: Kind) -> None:
        service = self._faulty.service
        if kind is Kind.BROKEN:
            before = service.log.read_text().count("cannot be staged")
            self._versions.damage(model)
            await _until(
                lambda: service.log.read_text().count("cannot be staged") > before
            )
        before_version = service.version(model)
        factor = self._versions.install(model, kind is not Kind.RETURNED)
        await _until(lambda: service.version(model) != before_version)
        self._clients.factors[service.version(model)] = factor

    def _kill(self, kind: Kind) -> None:
        """Kill a process: the youngest worker, so that one has a long life."""
        service = self._faulty.service
        pids = service.worker_pids()
        if len(pids) < service.workers:
            return  # one is starting
        victim = max(pids) if kind is Kind.WORKER else service.master_pid()
        self._clients.died_at = asyncio.get_running_loop().time()
        os.kill(victim, signal.SIGKILL)

    async def _disturb(self, kind: Kind) -> None:
        if kind is Kind.RESTARTED:
            await asyncio.to_thread(self._restart)
            return
        fault = _REDIS[kind](self._faulty)
        await asyncio.to_thread(fault.__enter__)
        await asyncio.sleep(_FAULT_SECONDS)
        await asyncio.to_thread(fault.__exit__, None, None, None)

    def _restart(self) -> None:
        redis = self._faulty.redis
        redis.process.kill()
        redis.process.wait()
        self._restarted.close()
        again = server(self._folder / "redis", port=redis.port)
        self._faulty.redis = self._restarted.enter_context(again)

    def close(self) -> None:
        """Stop the last Redis that was started."""
        self._restarted.close()


async def _until(condition: Any) -> None:
    async with asyncio.timeout(_STAGED_SECONDS):
        while not condition():  # noqa: ASYNC110  # it is about files
            await asyncio.sleep(0.2)


@contextmanager
def lived(folder: Path, rng: random.Random) -> Iterator[tuple[Life, Service, Clients]]:
    """Run the service, its Redis, and what happens to both."""
    versions = Versions(folder / "models", rng)
    for model in MODELS:
        versions.install(model, is_new=True)
    with server(folder / "redis") as redis, Relay(redis.port) as relay:
        (folder / "service").mkdir()
        with running(folder / "service", _config(versions, relay)) as service:
            port = int(service.url.rpartition(":")[2])
            clients = Clients(port, MODELS, rng)
            life = Life(Faulty(service, redis, relay), versions, clients, folder)
            try:
                yield life, service, clients
            finally:
                life.close()


def _config(versions: Versions, relay: Relay) -> dict[str, Any]:
    store = {"id": "s", "memory_mb": 16, "tiers": [{"connection": "near"}]}
    url = f"redis://127.0.0.1:{relay.port}/0"
    return {
        "endpoint": {"workers": 2},
        "models": [
            {"id": name, "url": str(versions.source(name)), "datastore": "s"}
            for name in MODELS
        ],
        "datastores": [store],
        "connections": [{"id": "near", "url": url, "timeout_seconds": 0.3}],
    }
