"""The services that get the faults."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from loadtests.faults import answers, namespace
from loadtests.faults.kinds import (
    clients,
    clock,
    disk,
    limits,
    memory,
    models,
    processes,
    redis,
    tls,
)
from loadtests.faults.scene import Scene, Sources, Store, opened
from loadtests.faults.suite import Family
from tests.support.certificates import Endpoint
from tests.support.redis_servers import cluster, cluster_url, free_port, server
from tests.support.relay import Relay

_VERSIONS = "ABCDE"
_WORKERS = 2
_DISK_MEGABYTES = 64
_ENDPOINT = {"workers": _WORKERS, "graceful_seconds": 5, "worker_timeout_seconds": 4}


def sources(folder: Path) -> Sources:
    """Build the versions of m."""
    paths = {
        name: answers.save_ranked(folder / "sources" / name, 2.5 + n)
        for n, name in enumerate(_VERSIONS)
    }
    hostile = models.save_writing(folder / "sources" / "hostile")
    return Sources(paths, answers.ranked_rows(), hostile)


def config_of(*others: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return the config of a service with a model m, whose answers are in L1."""
    document = {
        "endpoint": {**_ENDPOINT, "port": free_port()},
        "models": [{"id": "m", "url": "./m", "datastore": "l1"}, *others],
        "datastores": [{"id": "l1", "memory_mb": 16}],
    }
    return document | more


@contextmanager
def alone(folder: Path) -> Iterator[Scene]:
    """Run a service of one model, whose answers are in shared memory."""
    made = sources(folder)
    where = folder / "service"
    with ExitStack() as stack:
        stack.enter_context(namespace.small_disk(where, _DISK_MEGABYTES))
        yield stack.enter_context(opened(where, config_of(), made))


@contextmanager
def several(folder: Path) -> Iterator[Scene]:
    """Run a service with a slow model, and one whose values make runs long."""
    made = sources(folder)
    slow = answers.save_slow(folder / "slow")
    sums = models.save_summing(folder / "sums")
    batch = {"max_rows": 1, "max_queued_ms": 300}
    config = config_of(
        {"id": "slow", "url": str(slow), "datastore": "l1", "batch": batch},
        {"id": "sums", "url": str(sums), "batch": {"rows": "alone"}},
    )
    (folder / "service").mkdir()
    with opened(folder / "service", config, made) as scene:
        yield scene


@contextmanager
def faked_clock(folder: Path) -> Iterator[Scene]:
    """Run a service whose time of day can jump."""
    made = sources(folder)
    where = folder / "service"
    where.mkdir()
    prefix = clock.prefix(where)
    with opened(where, config_of(), made, prefix=prefix) as scene:
        yield scene


@contextmanager
def encrypted(folder: Path) -> Iterator[Scene]:
    """Run a service with TLS."""
    made = sources(folder)
    files = Endpoint(folder / "tls")
    endpoint = {**_ENDPOINT, "port": free_port(), "tls": files.config()}
    config = config_of(endpoint=endpoint)
    (folder / "service").mkdir()
    trust = files.trust(is_known=False)
    with opened(folder / "service", config, made, trust=trust, tls=files) as scene:
        yield scene


@contextmanager
def shared(folder: Path) -> Iterator[Scene]:
    """Run a service whose models r and c have their answers in Redis only."""
    made = sources(folder)
    keys = folder / "keys"
    keys.write_text(secrets.token_hex(32))
    keys.chmod(0o600)
    (folder / "service").mkdir()
    with ExitStack() as stack:
        near = stack.enter_context(server(folder / "redis"))
        relay = stack.enter_context(Relay(near.port))
        nodes = stack.enter_context(cluster(folder / "cluster"))
        urls = {"r": f"redis://127.0.0.1:{relay.port}/0", "c": cluster_url(nodes)}
        config = config_of(
            *[
                {"id": name, "url": str(made.paths["A"]), "datastore": name}
                for name in urls
            ],
            datastores=[
                {"id": "l1", "memory_mb": 16},
                *[
                    {"id": name, "memory_mb": 0, "tiers": [{"connection": name}]}
                    for name in urls
                ],
            ],
            connections=[
                {"id": name, "url": url, "sign_key_file": str(keys)}
                for name, url in urls.items()
            ],
        )
        store = Store(near, relay, nodes, stack.enter_context(ExitStack()))
        service = opened(folder / "service", config, made, store=store)
        yield stack.enter_context(service)


FAMILIES = (
    Family("processes", alone, processes.FAULTS),
    Family("Redis", shared, redis.FAULTS),
    Family("memory and disk", alone, (*memory.FAULTS, *disk.FAULTS)),
    Family("others", several, (*limits.FAULTS, *clients.FAULTS, *models.FAULTS)),
    Family("the clock", faked_clock, clock.FAULTS, clock.missing),
    Family("TLS", encrypted, tls.FAULTS),
)
