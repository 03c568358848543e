"""`gomlx check --connect` against servers that work, and against each fault."""

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_cli import ROOT, gomlx
from tests.support import saved_models
from tests.support.certificates import Certificates
from tests.support.redis_servers import Server, cluster, replica, server
from tests.support.relay import Relay

DEPLOY = ROOT / "deploy" / "redis"
SECRETS = ("swordfish", "hunter2")


@pytest.fixture(scope="module")
def connections(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Connections by their fault."""
    folder = tmp_path_factory.mktemp("check")
    known = Certificates(folder / "tls")
    other = Certificates(folder / "other")
    rules = (
        "user default on >swordfish ~* +@all",
        "user mute on >hunter2 ~* +@all -set",
        "user elsewhere on >hunter2 ~other:* +@all",
        "user timeless on >hunter2 ~* +@all -pttl",
    )
    with ExitStack() as stack:

        def run(name: str, *options: str, **rest: Any) -> Server:
            return stack.enter_context(server(folder / name, *options, **rest))

        plain = run("plain", f"unixsocket {folder}/socket")
        locked = run("locked", *rules, login=["swordfish"])
        full = run("full", "maxmemory 1", "maxmemory-policy noeviction")
        follower = stack.enter_context(replica(folder / "replica", plain))
        (node,) = stack.enter_context(cluster(folder / "cluster", 1))
        monitor = f"sentinel monitor main 127.0.0.1 {plain.port} 1"
        watcher = run("sentinel", monitor)
        guarded = run("guarded", monitor, "requirepass hunter2", login=["hunter2"])
        tls = stack.enter_context(Relay(plain.port, known.context()))
        strict = stack.enter_context(Relay(plain.port, known.context(True)))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        at = "127.0.0.1"
        mine = {"ca_file": str(known.ca)}
        sentinel = f"redis+sentinel://{at}:{watcher.port}"
        yield {
            "ok": {"url": plain.url},
            "ok-unix": {"url": f"unix://{folder}/socket"},
            "ok-password": {"url": locked.url, "password": "swordfish"},
            "ok-tls": {"url": f"rediss://{at}:{tls.port}"} | mine,
            "ok-client": {"url": f"rediss://{at}:{strict.port}"}
            | mine
            | {"cert_file": str(known.client)},
            "ok-sentinel": {"url": f"{sentinel}/main/0"},
            "ok-guarded": {
                "url": f"redis+sentinel://{at}:{guarded.port}/main"
                "?sentinel_password=hunter2"
            },
            "ok-cluster": {"url": f"redis+cluster://{at}:{node.port}"},
            "ok-replica": {"url": follower.url},  # its tier only reads
            "refused": {"url": f"redis://:hunter2@{at}:1"},
            "no-socket": {"url": f"unix://{folder}/none"},
            "timeout": {
                "url": f"redis://{at}:{silent.getsockname()[1]}",
                "timeout_seconds": 0.3,
            },
            "name": {"url": "redis://nowhere.invalid"},
            "unreachable": {"url": f"redis+sentinel://{at}:1/main"},
            "password": {"url": locked.url, "password": "hunter2"},
            "password-needed": {"url": locked.url},
            "password-unasked": {"url": plain.url, "password": "hunter2"},
            "permission": {
                "url": locked.url,
                "username": "mute",
                "password": "hunter2",
            },
            "permission-keys": {"url": f"redis://elsewhere:hunter2@{at}:{locked.port}"},
            "permission-pttl": {"url": f"redis://timeless:hunter2@{at}:{locked.port}"},
            "password-file": {"url": plain.url, "password_file": "/nowhere"},
            "certificate": {"url": f"rediss://{at}:{tls.port}"},
            "certificate-other": {
                "url": f"rediss://{at}:{tls.port}",
                "ca_file": str(other.ca),
            },
            "client-certificate": {"url": f"rediss://{at}:{strict.port}"} | mine,
            "plain": {"url": f"rediss://{at}:{plain.port}", "timeout_seconds": 1},
            "tls": {"url": f"redis://{at}:{tls.port}", "timeout_seconds": 1},
            "read-only": {"url": follower.url},
            "memory": {"url": full.url},
            "database": {"url": f"redis://{at}:{plain.port}/99"},
            "no-sentinel": {"url": f"redis+sentinel://{at}:{plain.port}/main"},
            "no-master": {"url": f"{sentinel}/mian"},
            "sentinel": {"url": f"redis://{at}:{watcher.port}"},
            "sentinel-password": {"url": f"redis+sentinel://{at}:{guarded.port}/main"},
            "no-cluster": {"url": f"redis+cluster://{at}:{plain.port}"},
            "cluster": {"url": node.url},
        }


def write(folder: Path, connections: dict[str, Any]) -> None:
    if not (folder / "m").exists():
        saved_models.scale(folder / "m", 2.0)
    tiers = [
        {"connection": name, "read_only": name == "ok-replica"} for name in connections
    ]
    document = {
        "models": [{"id": "m", "url": "./m"}],
        "datastores": [{"id": "s", "tiers": tiers}],
        "connections": [
            {"id": name, "timeout_seconds": 10} | one
            for name, one in connections.items()
        ],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(document))


WORDS = {
    "refused": "start the server",
    "no-socket": "correct the path",
    "timeout": "firewalls",
    "name": "no such host",
    "unreachable": "Sentinels' hosts and ports",
    "password": "username or password is wrong",
    "password-needed": "set password or password_file",
    "password-unasked": "the server has no password",
    "permission": "users.acl",
    "permission-keys": "users.acl",
    "permission-pttl": "users.acl",
    "password-file": "correct password_file",
    "certificate": "set ca_file",
    "certificate-other": "set ca_file",
    "client-certificate": "set cert_file",
    "plain": "TLS",
    "tls": "rediss://",
    "read-only": "this is a replica",
    "memory": "maxmemory-policy",
    "database": "no such database",
    "no-sentinel": "this is not a Sentinel",
    "no-master": "name of the master",
    "sentinel": "use redis+sentinel://",
    "sentinel-password": "sentinel_password",
    "no-cluster": "not part of a cluster",
    "cluster": "use redis+cluster://",
}


def test_every_fault_comes_with_advice(
    tmp_path: Path, connections: dict[str, Any]
) -> None:
    write(tmp_path, connections)
    done = gomlx("check", "config.yaml", "--connect", "--quick", "--json", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    outcomes = {one["id"]: one for one in json.loads(done.stdout)["connections"]}
    assert outcomes.keys() == connections.keys()
    for name, one in outcomes.items():
        assert bool(one["problem"]) != name.startswith("ok"), one
        if one["problem"]:
            assert WORDS[name] in one["advice"], one
        else:
            assert one["milliseconds"] > 0, one
            assert one["server"].startswith("Redis "), one
    assert outcomes["ok-replica"]["server"].endswith("slave")
    for secret in SECRETS:
        assert secret not in done.stdout + done.stderr


def test_without_json_results_are_lines(
    tmp_path: Path, connections: dict[str, Any]
) -> None:
    few = {name: connections[name] for name in ("ok", "refused")}
    write(tmp_path, few)
    done = gomlx("check", "config.yaml", "--connect", "--quick", cwd=tmp_path)
    assert done.returncode == 1
    assert "connection ok: ok, Redis " in done.stdout
    assert "connection refused: 127.0.0.1:1: " in done.stderr
    assert "config.yaml is fine" not in done.stdout


def test_a_working_connection_is_fine_and_left_clean(
    tmp_path: Path, connections: dict[str, Any]
) -> None:
    write(tmp_path, {"ok": connections["ok"]})
    done = gomlx("check", "config.yaml", "--connect", "--quick", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "config.yaml is fine" in done.stdout
    port = int(connections["ok"]["url"].split(":")[2].split("/")[0])
    assert redis_reply(port, "DBSIZE") == b":0"


def redis_reply(port: int, command: str) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(command.encode() + b"\r\n")
        return connection.recv(100).strip()


def test_without_connect_nothing_is_tried(tmp_path: Path) -> None:
    write(tmp_path, {"refused": {"url": "redis://127.0.0.1:1"}})
    assert gomlx("check", "config.yaml", "--quick", cwd=tmp_path).returncode == 0


def test_the_users_that_come_with_gomlx(tmp_path: Path) -> None:
    users = (DEPLOY / "users.acl").read_text()
    for digit, name in enumerate(("admin", "gomlx", "gomlx-client")):
        digest = hashlib.sha256(f"{name}-swordfish".encode()).hexdigest()
        assert str(digit) * 64 in users
        users = users.replace(str(digit) * 64, digest)
    (tmp_path / "users.acl").write_text(users)
    options = f"include {DEPLOY}/server.conf", f"aclfile {tmp_path}/users.acl"
    with server(tmp_path / "server", *options) as one:
        for name in ("gomlx", "gomlx-client"):
            _may_do_its_work(tmp_path, one, name)
            one.login = (name, f"{name}-swordfish")
            for command in ("FLUSHALL", "KEYS *", "CONFIG GET *", "GET other:1"):
                assert "NOPERM" in one.execute(*command.split()), command
        one.login = ("gomlx", "gomlx-swordfish")
        assert "used_memory" in one.execute("INFO")  # for its metrics
        one.login = ("admin", "admin-swordfish")
        assert one.execute("CONFIG", "GET", "maxmemory-policy")[1] == "allkeys-lru"
        assert one.execute("CONFIG", "GET", "save")[1] == ""


def _may_do_its_work(folder: Path, one: Server, name: str) -> None:
    login = {"username": name, "password": f"{name}-swordfish"}
    only_reads = name == "gomlx-client"
    write(folder, {"ok": {"url": one.url} | login})
    done = gomlx("check", "config.yaml", "--connect", "--quick", cwd=folder)
    assert done.returncode == (1 if only_reads else 0), done.stderr
    write(folder, {"ok-replica": {"url": one.url} | login})
    done = gomlx("check", "config.yaml", "--connect", "--quick", cwd=folder)
    assert done.returncode == 0, done.stderr
