"""The suite against gomlx, with shared memory or a signed Redis: nothing is wrong."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from gomlx.cli import app
from gomlx.conformance.recipe import ModelName
from gomlx.conformance.suite import CHECKS
from tests.support.processes import restarting
from tests.support.redis_servers import Server, free_port, server
from tests.support.service import Service, running

TTL_SECONDS = 5
# mly's requests have no such thing.
CANNOT = {"outputs", "request-ids", "by-number"}


def config(store: dict[str, Any]) -> dict[str, Any]:
    return {
        "endpoint": {"port": free_port()},
        "watch": {"poll_seconds": 0.2, "settle_seconds": 0.2},
        "models": [
            {"id": str(name), "url": f"models/{name}", "datastore": "answers"}
            for name in ModelName
        ],
        "datastores": [{"id": "answers", "ttl_seconds": TTL_SECONDS} | store],
    }


def with_redis(redis: Server) -> dict[str, Any]:
    near = {"id": "near", "url": redis.url, "sign_key_file": "../keys"}
    tiers = [{"connection": "near", "deadline_ms": 5000}]
    connections = [near | {"timeout_seconds": 30}]
    return config({"memory_mb": 0, "tiers": tiers}) | {"connections": connections}


def asked(service: Service, *words: str) -> dict[str, Any]:
    """Ask a service in which nothing is wrong; return the outcomes by name."""
    done = CliRunner().invoke(app, ["conformance", service.url, "--json", *words])
    assert done.exit_code == 0, done.output
    return {one["name"]: one for one in json.loads(done.stdout)["checks"]}


@pytest.mark.timeout(600)
def test_with_shared_memory(tmp_path: Path) -> None:
    """Its answers survive the restart, and are hits if their model is the same."""
    only = ("repeated", "two-models", "same-number", "restart")
    words = [word for name in only for word in ("--only", name)]
    document = config({"memory_mb": 16, "ttl_seconds": 600})
    document["endpoint"]["workers"] = 2
    with (
        running(tmp_path, document, stages=True) as service,
        restarting(service, tmp_path / "restart") as command,
    ):
        words += ["--model-dir", str(tmp_path / "models")]
        checks = asked(service, *words, "--restart-command", command)
    results = {name: one["result"] for name, one in checks.items()}
    assert results == dict.fromkeys(("deployed", *only), "right")
    assert checks["restart"]["note"] == "the unchanged model's answer afterwards: a hit"


@pytest.mark.timeout(600)
def test_with_redis(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0a" * 32)
    keys.chmod(stat.S_IRUSR)
    folders = [tmp_path / name for name in ("a", "b")]
    for folder in folders:
        folder.mkdir()
    with (
        server(tmp_path / "redis") as redis,
        running(folders[0], with_redis(redis), stages=True) as one,
        running(folders[1], with_redis(redis), stages=True) as other,
        restarting(one, tmp_path / "restart") as command,
    ):
        options = {
            "--model-dir": folders[0] / "models",
            "--other-url": other.url,
            "--other-model-dir": folders[1] / "models",
            "--redis-url": redis.url,
            "--ttl-seconds": TTL_SECONDS,
            "--restart-command": command,
        }
        words = [str(word) for pair in options.items() for word in pair]
        checks = asked(one, *words)
    results = {name: one["result"] for name, one in checks.items()}
    names = {check.name for check in CHECKS}
    assert results == dict.fromkeys(names - CANNOT, "right") | dict.fromkeys(
        CANNOT, "does not apply"
    )
    assert checks["repeated"]["note"] == "the second: a hit"
