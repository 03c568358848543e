"""Two services behind proxies, and what happens to the first one."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from loadtests.load import procfs
from tests.support import saved_models
from tests.support.processes import processes_of
from tests.support.redis_servers import free_port
from tests.support.service import Service, running, wait_for

FACTORS = (2.0, 3.0)  # of the first version, and of the next one
_DRAIN_SECONDS = 3
_SUSPENDED_SECONDS = 3.0


@dataclass(frozen=True)
class Hosts:
    """Services that serve the same model.

    versions: the folder of the model's versions. following: its next version, beside.
    """

    services: list[Service]
    ports: list[int]
    versions: Path
    following: Path

    @property
    def first(self) -> Service:
        """The one that faults happen to."""
        return self.services[0]


@contextmanager
def two_hosts(folder: Path) -> Iterator[Hosts]:
    """Run two services that share nothing but the model's files."""
    versions = folder / "model"
    saved_models.scale(versions / "1", FACTORS[0])
    following = saved_models.scale(folder / "following", FACTORS[1])
    ports = [free_port(), free_port()]
    with ExitStack() as stack:
        services = []
        for port in ports:
            own = folder / str(port)
            own.mkdir()
            config = _config(versions, port)
            services.append(stack.enter_context(running(own, config)))
        yield Hosts(services, ports, versions, following)


def _config(versions: Path, port: int) -> dict[str, object]:
    endpoint = {
        "port": port,
        "request_seconds": 0.3,
        "drain_seconds": _DRAIN_SECONDS,
        "graceful_seconds": 5,
    }
    return {
        "endpoint": endpoint,
        "models": [{"id": "m", "url": str(versions), "datastore": "answers"}],
        "datastores": [{"id": "answers", "memory_mb": 16}],
    }


def stop(hosts: Hosts) -> None:
    """SIGTERM, and a new start once the service has ended."""
    assert hosts.first.stop(signal.SIGTERM) == 0
    hosts.first.start()


def kill(hosts: Hosts) -> None:
    """SIGKILL to the supervisor, and a new start once its workers have ended."""
    hosts.first.stop(signal.SIGKILL)
    wait_for(lambda: not processes_of(hosts.first.folder))
    hosts.first.start()


def kill_all(hosts: Hosts) -> None:
    """SIGKILL to every process at once, as if the host lost power; a new start."""
    _signal_all(hosts.first, signal.SIGKILL)
    hosts.first.process.wait(60)
    hosts.first.start()


def suspend(hosts: Hosts) -> None:
    """SIGSTOP to every process: connections are accepted, and nobody answers."""
    _signal_all(hosts.first, signal.SIGSTOP)
    try:
        time.sleep(_SUSPENDED_SECONDS)
    finally:
        _signal_all(hosts.first, signal.SIGCONT)


def swap(hosts: Hosts) -> None:
    """A new version of the model, on both hosts."""
    before = {service.version("m") for service in hosts.services}
    hosts.following.rename(hosts.versions / "2")
    for service in hosts.services:
        wait_for(lambda s=service: s.version("m") not in before)  # type: ignore[misc]
        wait_for(lambda s=service: _has_loaded(s))  # type: ignore[misc]


def _has_loaded(service: Service) -> bool:
    return all(model["version"] == service.version("m") for model in service.states())


def _signal_all(service: Service, signum: int) -> None:
    for pid in procfs.family(service.process.pid):
        with suppress(ProcessLookupError):
            os.kill(pid, signum)


FAULTS: Mapping[str, Callable[[Hosts], None]] = {
    "SIGTERM, with a drain": stop,
    "kill -9": kill,
    "kill -9 of all processes": kill_all,
    "SIGSTOP": suspend,
    "a new version": swap,
}
