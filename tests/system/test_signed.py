"""Lies in a shared tier that are well-formed: without a key nobody believes them."""

import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gomlx import Client, Options
from gomlx.cli import app
from tests.support import saved_models
from tests.support.redis_servers import Server, server
from tests.support.service import Service, running, wait_for

LIE = '{"emb":[9.0,9.0,9.0],"label":"nine"}'
LIED = [9.0, 9.0, 9.0]


def truth(x: float) -> list[float]:
    return [x, 2 * x, 3 * x]


class Signed:
    """Two services of one model and one Redis, without L1: `honest` has no key."""

    def __init__(self, services: list[Service], redis: Server, keys: Path) -> None:
        self.service, self.honest = services
        self.redis = redis
        self.keys = keys

    def ask(self, x: float) -> tuple[Any, str]:
        """Return an output of the answer to a row, and its tier."""
        reply = self.service.post("m", {"x": x})
        assert reply.status_code == 200, reply.text
        return reply.json()["data"]["emb"], reply.headers["cache-status"]

    def ask_honest(self, x: float) -> Any:
        return self.honest.post("m", {"x": x}).json()["data"]["emb"]

    def stored(self, x: float) -> tuple[str, str]:
        """Return the name and the signed value of a row's answer when it is there."""
        before = set(self.redis.execute("KEYS", "gomlx:1:m:*"))
        self.ask(x)
        new = wait_for(lambda: set(self.redis.execute("KEYS", "gomlx:1:m:*")) - before)
        (name,) = new
        return name, self.redis.execute("GET", name)

    def bad(self) -> float:
        return self.service.metric(
            "gomlx_cache_lookups_total", tier="near", outcome="bad"
        )

    def client(self, **options: Any) -> Client:
        return Client(
            "m",
            self.service.url,
            redis=self.redis.url,
            options=Options(redis_seconds=5.0, ttl_seconds=0.0, **options),
        )


def config(source: Path, redis: Server, **connection: str) -> dict[str, Any]:
    near = {"id": "near", "url": redis.url, "timeout_seconds": 30} | connection
    tiers = [{"connection": "near", "deadline_ms": 5000}]
    return {
        "models": [{"id": "m", "url": str(source), "datastore": "s"}],
        "datastores": [{"id": "s", "memory_mb": 0, "tiers": tiers}],
        "connections": [near],
    }


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    folder = tmp_path_factory.mktemp("signed")
    source = saved_models.embedded(folder / "model")
    keys = folder / "keys"
    keys.write_text("0a" * 32)
    keys.chmod(stat.S_IRUSR)
    for name in ("with", "without"):
        (folder / name).mkdir()
    with (
        server(folder / "redis") as redis,
        running(
            folder / "with", config(source, redis, sign_key_file="../keys")
        ) as service,
        running(folder / "without", config(source, redis)) as honest,
    ):
        yield Signed([service, honest], redis, keys)


def test_a_lie_reaches_no_answer_of_the_service(signed: Signed) -> None:
    name, value = signed.stored(2.0)
    other, other_value = signed.stored(4.0)
    assert value.startswith('{"emb":[2.0,4.0,6.0],"label":"two"}\n')
    cut = value.index("\n")
    for lie in (LIE, LIE + value[cut:], other_value, value[:-1], value + " "):
        bad = signed.bad()
        signed.redis.execute("SET", name, lie)
        answer, tier = signed.ask(2.0)
        assert answer == truth(2.0)
        assert "near" not in tier
        wait_for(lambda: signed.bad() == bad + 1)  # noqa: B023  # called at once
        wait_for(lambda: "near" in signed.ask(2.0)[1])
    assert signed.redis.execute("GET", other) == other_value


def test_a_lie_reaches_no_client_that_has_the_key(signed: Signed) -> None:
    name, value = signed.stored(6.0)
    with signed.client(sign_key_file=str(signed.keys)) as client:
        assert client.predict(x=6.0).tier == "redis"
        signed.redis.execute("SET", name, LIE)
        assert client.predict(x=6.0)["emb"] == truth(6.0)
        assert client.metrics()["lookups"]["bad"] == 1
        wait_for(lambda: signed.redis.execute("GET", name) == value)
        assert client.predict(x=6.0).tier == "redis"


def test_without_the_key_it_would_be_believed(signed: Signed) -> None:
    """If no lie were well-formed, the tests above would pass, too."""
    name, _ = signed.stored(8.0)

    def is_believed(ask: Callable[[], Any]) -> bool:
        signed.redis.execute("SET", name, LIE)
        return bool(ask() == LIED)

    with signed.client() as client:
        wait_for(lambda: is_believed(lambda: client.predict(x=8.0)["emb"]))
    wait_for(lambda: is_believed(lambda: signed.ask_honest(8.0)))
    assert signed.ask(8.0)[0] == truth(8.0)


def test_services_with_and_without_a_key_answer_beside_each_other(
    signed: Signed,
) -> None:
    """While a fleet is given its key: each refuses what the other has written."""
    for _ in range(10):
        assert signed.ask(10.0)[0] == truth(10.0)
        assert signed.ask_honest(10.0) == truth(10.0)


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_key_that_others_may_read_is_refused_before_anything_runs(
    tmp_path: Path, command: str
) -> None:
    keys = tmp_path / "keys"
    keys.write_text("0a" * 32)
    keys.chmod(0o644)
    document = {
        "models": [{"id": "m", "url": "none", "datastore": "s"}],
        "datastores": [{"id": "s", "tiers": [{"connection": "near"}]}],
        "connections": [
            {"id": "near", "url": "redis://127.0.0.1:1/0", "sign_key_file": "keys"}
        ],
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    option = ["-c"] if command == "serve" else []
    result = CliRunner().invoke(app, [command, *option, str(path)])
    assert result.exit_code == 2, result.output
    assert "its mode is 0644" in " ".join(result.output.split())
