"""One computation per row for a fleet: two services on two hosts, one Redis."""

import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support import saved_models
from tests.support.redis_servers import Server, server
from tests.support.service import Service, running, wait_for

MODELS = ("process", "host", "fleet")


@cache
def no_namespaces() -> str:
    """Return why no network namespace can be made here; empty if one can."""
    probe = f"gomlx-{os.getpid()}-probe"
    try:
        run("ip", "netns", "add", probe)
    except FileNotFoundError:
        return "there is no `ip`"
    except subprocess.CalledProcessError as error:
        return str(error.stderr.decode().strip()) or str(error)
    run("ip", "netns", "del", probe)
    return ""


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=30)


@contextmanager
def host(number: int) -> Iterator[tuple[str, str, Sequence[str]]]:
    """A network namespace: our address, its address, a command that runs others in it.

    Where none may be made, both are this host's, at two addresses: one test is
    skipped.
    """
    if no_namespaces():
        yield "127.0.0.1", f"127.0.0.{number + 1}", ()
        return
    name = f"gomlx-{os.getpid()}-{number}"
    ours = f"g{os.getpid()}n{number}a"
    theirs = f"g{os.getpid()}n{number}b"
    here = f"10.231.{number}.1"
    there = f"10.231.{number}.2"
    run("ip", "netns", "add", name)
    try:
        pair = f"ip link add {ours} type veth peer name {theirs} netns {name}"
        run(*pair.split())
        run("ip", "addr", "add", f"{here}/24", "dev", ours)
        run("ip", "link", "set", ours, "up")
        inside = ("ip", "netns", "exec", name)
        run(*inside, "ip", "addr", "add", f"{there}/24", "dev", theirs)
        run(*inside, "ip", "link", "set", theirs, "up")
        run(*inside, "ip", "link", "set", "lo", "up")
        yield here, there, inside
    finally:
        run("ip", "netns", "del", name)


class Fleet:
    """Services, their Redis, and how many requests each model has been sent."""

    def __init__(self, services: Sequence[Service], redis: Server) -> None:
        self.services = services
        self._redis = redis
        self._sent = Counter[str]()

    def send(
        self, model: str, *requests: tuple[Service, float]
    ) -> list[httpx.Response]:
        """Send requests at once, each on its own connection: to any worker."""
        self._sent[model] += len(requests)
        with ThreadPoolExecutor(64) as pool:
            return list(
                pool.map(lambda a: a[0].post_anew(model, {"x": a[1]}), requests)
            )

    def rows_run(self, model: str) -> float:
        """How many rows were run, once every request so far is counted."""
        # A worker's tally is the last that it writes: all else has been counted then.
        wait_for(lambda: self._tallied(model) == self._sent[model])
        return sum(s.metric("gomlx_batch_rows_sum", model=model) for s in self.services)

    def wait_until_written(self, model: str, answers: int) -> None:
        """Return when Redis has so many answers of a model."""
        wait_for(
            lambda: len(self._redis.execute("KEYS", f"gomlx:1:{model}:*")) >= answers
        )

    def _tallied(self, model: str) -> int:
        path = f"/v1/api/metric/operation/{model}Perf"
        return sum(s.get(path).json().get("Count", 0) for s in self.services)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two services of two workers on two hosts, that share one Redis."""
    folder = tmp_path_factory.mktemp("fleet")
    source = saved_models.sleeper(folder / "model", 500)
    with ExitStack() as stack:
        hosts = [stack.enter_context(host(number)) for number in (1, 2)]
        addresses = " ".join(sorted({"127.0.0.1", *(here for here, _, _ in hosts)}))
        redis = stack.enter_context(
            server(folder / "redis", "protected-mode no", bind=addresses)
        )
        services = []
        for number, (here, there, inside) in enumerate(hosts):
            config = shared_config(f"redis://{here}:{redis.port}/0", source)
            config["endpoint"] = {"workers": 2, "host": there}
            (folder / str(number)).mkdir()
            services.append(
                stack.enter_context(running(folder / str(number), config, inside))
            )
        yield Fleet(services, redis)


def shared_config(url: str, source: Path, memory_mb: int = 4) -> dict[str, Any]:
    return {
        "models": [
            {
                "id": name,
                "url": str(source),
                "datastore": "shared",
                "coalesce": name,
                "lease_ms": 60_000,
            }
            for name in MODELS
        ],
        "datastores": [
            {
                "id": "shared",
                "memory_mb": memory_mb,
                "tiers": [{"connection": "near", "deadline_ms": 60_000}],
            }
        ],
        "connections": [{"id": "near", "url": url, "timeout_seconds": 60}],
    }


def test_the_services_are_on_two_hosts(request: pytest.FixtureRequest) -> None:
    """Skipped where they share a network: then the tests below prove less."""
    if why := no_namespaces():
        pytest.skip(f"the fleet runs on loopback, without network namespaces: {why}")
    fleet: Fleet = request.getfixturevalue("fleet")
    pids = [os.getpid(), *(service.master_pid() for service in fleet.services)]
    assert len({os.readlink(f"/proc/{pid}/ns/net") for pid in pids}) == 3


@pytest.mark.parametrize("model", MODELS)
def test_a_row_that_one_host_computed_the_other_never_computes(
    fleet: Fleet, model: str
) -> None:
    one, other = fleet.services
    # Models of one version share L1: each has rows of its own.
    xs = [100.0 * MODELS.index(model) + n for n in range(20)]
    first = fleet.send(model, *((one, x) for x in xs))
    fleet.wait_until_written(model, len(xs))
    before = fleet.rows_run(model)
    second = fleet.send(model, *((other, x) for x in xs))
    assert [r.json()["data"] for r in second] == [r.json()["data"] for r in first]
    assert fleet.rows_run(model) == before
    tiers = [reply.headers["cache-status"].rpartition("=")[2] for reply in second]
    assert "near" in tiers


@pytest.mark.parametrize(("model", "hosts"), [("host", 1), ("fleet", 2)])
def test_many_cold_requests_at_once_are_one_run(
    fleet: Fleet, model: str, hosts: int
) -> None:
    for x in (1000.5, 1001.5, 1002.5):
        before = fleet.rows_run(model)
        each = [(service, x) for service in fleet.services[:hosts]]
        replies = fleet.send(model, *(each * (64 // hosts)))
        assert [reply.status_code for reply in replies] == [200] * 64
        assert len({str(reply.json()["data"]) for reply in replies}) == 1
        assert fleet.rows_run(model) - before == 1
