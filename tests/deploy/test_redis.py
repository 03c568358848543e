"""Servers and Sentinels with the configs of deploy/redis: a failover under load."""

import hashlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import saved_models
from tests.support.redis_servers import Server, server, until
from tests.support.service import Service, running
from tests.system.test_tiers import SteadyLoad

FOLDER = Path(__file__).parents[2] / "deploy" / "redis"
USERS = ("admin", "gomlx", "gomlx-client", "replica", "sentinel")  # 0000…, 1111…, …
FIRST = "10.0.0.21"  # as the configs name the first host


@dataclass
class Group:
    """Two servers that hold the same, and the Sentinels that watch them."""

    master: Server
    replica: Server
    sentinels: list[Server]

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{one.port}" for one in self.sentinels)
        return f"redis+sentinel://{hosts}/gomlx/0"

    def ports_of_master(self) -> set[str]:
        """Where each Sentinel says that the master is."""
        command = "SENTINEL GET-MASTER-ADDR-BY-NAME gomlx".split()
        return {one.execute(*command)[1] for one in self.sentinels}


def password_of(user: str) -> str:
    return f"{user}-swordfish"


def write_users(path: Path) -> Path:
    """Write users.acl with a password for each user."""
    text = (FOLDER / "users.acl").read_text()
    for digit, name in enumerate(USERS):
        digest = hashlib.sha256(password_of(name).encode()).hexdigest()
        assert f"user {name} on #{str(digit) * 64} " in text
        text = text.replace(str(digit) * 64, digest)
    path.write_text(text)
    return path


def lines_of(name: str, changes: dict[str, str]) -> list[str]:
    """Return the lines of a config, with changes of texts that it must have."""
    text = (FOLDER / name).read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text.splitlines()


@pytest.fixture(scope="module")
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Group]:
    folder = tmp_path_factory.mktemp("redis")
    users = write_users(folder / "users.acl")
    changes = {
        "/etc/redis/server.conf": str(FOLDER / "server.conf"),
        "REPLICA-PASSWORD": password_of("replica"),
        FIRST: "127.0.0.1",
    }
    replicated = [*lines_of("replicated.conf", changes), f"aclfile {users}"]
    login = ("admin", password_of("admin"))
    with ExitStack() as stack:

        def run(name: str, *options: str) -> Server:
            return stack.enter_context(server(folder / name, *options, login=login))

        master = run("master", *replicated)
        replica = run("replica", *replicated, f"replicaof 127.0.0.1 {master.port}")
        until(lambda: "link_status:up" in replica.execute("INFO", "replication"))
        changes = {
            f"{FIRST} 6379": f"127.0.0.1 {master.port}",
            FIRST: "127.0.0.1",
            "SENTINEL-PASSWORD": password_of("sentinel"),
        }
        watching = lines_of("sentinel.conf", changes)
        sentinels = [
            stack.enter_context(server(folder / f"sentinel-{n}", *watching))
            for n in range(3)
        ]
        yield Group(master, replica, sentinels)


@pytest.fixture
def service(group: Group, tmp_path: Path) -> Iterator[Service]:
    """A service without L1, which looks up every row in the group."""
    saved_models.scale(tmp_path / "model", 2.0)
    near = {
        "id": "near",
        "url": group.url,
        "username": "gomlx",
        "password": password_of("gomlx"),
    }
    config = {
        "endpoint": {"request_seconds": 5},  # a 504 if anything takes longer
        "models": [{"id": "m", "url": "model", "datastore": "answers"}],
        "datastores": [
            {"id": "answers", "memory_mb": 0, "tiers": [{"connection": "near"}]}
        ],
        "connections": [near],
    }
    with running(tmp_path, config) as service:
        yield service


def test_a_failover_under_load(group: Group, service: Service) -> None:
    for one in group.sentinels:
        until(lambda one=one: _knows_all(one))  # type: ignore[misc]
    with SteadyLoad(service) as load:
        load.wait_for_hits()
        group.master.process.kill()
        until(lambda: group.ports_of_master() == {str(group.replica.port)})
        load.wait_for_hits()
        load.wait_for_requests(100)
    assert not load.wrong
    assert "role:master" in group.replica.execute("INFO", "replication")


def _knows_all(sentinel: Server) -> bool:
    """Whether a Sentinel knows the replica and both others."""
    found = sentinel.execute("SENTINEL", "MASTER", "gomlx")
    facts = dict(zip(found[::2], found[1::2], strict=True))
    return (facts["num-slaves"], facts["num-other-sentinels"]) == ("1", "2")
