"""A client of real services: keys, killed and paused workers, new versions."""

import asyncio
import os
import random
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gomlx import AsyncClient, Client
from gomlx.client.columns import columns_of_batch
from gomlx.client.local.client_model import ClientModel
from gomlx.client.options import Options
from gomlx.contract.canonical import Buckets, Kind, Rounded, Vocabulary
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput, ModelNotFound
from tests.client.fake import QUIET
from tests.support import redis_servers, saved_models
from tests.support.families import buckets, comparisons, control_flow, tables
from tests.support.service import Service, running, wait_for

FAMILIES = {
    "masked": comparisons.masked,
    "branches": control_flow.branches,
    "buckets": buckets.buckets,
    "integers": tables.integers,
    "vectors": tables.vectors,
    "keras": saved_models.keras,
}
ROWS = 1700  # of each: some 10,000 in all


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_servers.Server]:
    with redis_servers.server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis: redis_servers.Server
) -> Iterator[Service]:
    """The families, over shared memory and Redis; and a model that is replaced."""
    folder = tmp_path_factory.mktemp("client")
    for name, make in FAMILIES.items():
        make(folder / name)
    saved_models.scale(folder / "scale", 2.0)
    models: list[dict[str, Any]] = [
        {"id": name, "url": f"./{name}", "datastore": "s"}
        for name in (*FAMILIES, "scale")
    ]
    by_id = {model["id"]: model for model in models}
    by_id["keras"]["inputs"] = [{"name": "price", "precision": 1}]
    store = {"id": "s", "memory_mb": 16, "tiers": [{"connection": "near"}]}
    connections = [{"id": "near", "url": redis.url, "timeout_seconds": 30}]
    config = {"models": models, "datastores": [store], "connections": connections}
    with running(folder, config) as service:
        yield service


def drawn(tensor: Tensor, kind: Kind, chance: random.Random) -> Any:
    """A value of an input, often at an edge of what its kind distinguishes."""
    if tensor.shape not in ((), (1,)):
        (size,) = tensor.shape or (1,)
        one = replace(tensor, shape=())
        count = size or chance.randint(1, 3)
        return [drawn(one, kind, chance) for _ in range(count)]
    if isinstance(kind, Vocabulary) and chance.random() < 0.6:
        return chance.choice([v for v in kind.known if isinstance(v, str | int)] or [0])
    if isinstance(kind, Buckets) and chance.random() < 0.5:
        edge = chance.choice(kind.thresholds)
        return int(edge) if "int" in tensor.dtype else edge
    if tensor.dtype == "string":
        return chance.choice(["", "é", "東京😀", "\0", f"w{chance.randint(0, 99)}"])
    if "int" in tensor.dtype:
        return chance.randint(-9, 99)
    return chance.choice([0.0, -0.0, 2, -1e-30, 1e30, chance.uniform(-20, 20)])


def test_the_client_finds_what_the_service_wrote(
    service: Service, redis: redis_servers.Server
) -> None:
    chance = random.Random(7)
    for model in FAMILIES:
        with Client(model, service.url, options=QUIET) as client:
            contract = client.contract
            assert contract is not None
            fields = zip(contract.signature.fields, contract.kinds, strict=True)
            columns = {
                t.name: [drawn(t, kind, chance) for _ in range(ROWS)]
                for t, kind in fields
            }
            served = client.predict_batch(columns, timeout_seconds=60)
        names = _names(contract, columns)
        wait_for(partial(_are_there, redis, names))
        # No service listens there: all answers are from Redis.
        offline = Client(
            model,
            "http://127.0.0.1:9",
            contract=contract,
            redis=redis.url,
            options=replace(QUIET, redis_seconds=30.0),
        )
        with offline:
            found = offline.predict_batch(columns)
        assert {answer.tier for answer in found} == {"redis"}
        assert found == served


def _are_there(redis: redis_servers.Server, names: list[str]) -> bool:
    return bool(redis.execute("EXISTS", *names) == len(names))


def _names(contract: Contract, columns: dict[str, list[Any]]) -> list[str]:
    client_model = ClientModel(contract, QUIET)
    rows = client_model.rows(columns_of_batch(columns))
    return sorted({name.decode() for name in client_model.shared_names(rows.canonical)})


def test_rows_that_the_model_cannot_tell_apart_are_one(service: Service) -> None:
    with Client("keras", service.url, options=QUIET) as client:
        first = client.predict(city="nowhere", day=99, price=2.04)
        twin = client.predict(city="elsewhere", day=-5, price=1.96)
        assert (twin, twin.tier) == (first, "local")
        assert client.predict(city="rome", day=99, price=2.04).tier != "local"
        for _ in range(2):
            with pytest.raises(InvalidInput, match="'day'"):
                client.predict(city="nowhere", day=2**63, price=2.04)


def test_the_tier_is_the_one_that_the_service_reports(service: Service) -> None:
    row = {"city": "lima", "day": 1, "price": 77.5}
    with Client("keras", service.url, options=QUIET) as client:
        assert client.predict(row).tier == "model"
    wait_for(lambda: "hit" in service.post("keras", row).headers["Cache-Status"])
    with Client("keras", service.url, options=QUIET) as other:
        answer = other.predict(row)
        assert (answer.tier, answer.cached) == ("L1", True)
    with pytest.raises(ModelNotFound), Client("nothing", service.url) as nothing:
        nothing.predict(x=1)


@pytest.mark.parametrize("http2", [False, True])
def test_large_batches(service: Service, http2: bool) -> None:
    options = replace(QUIET, http2=http2, timeout_seconds=60)
    with Client("scale", service.url, options=options) as client:
        xs = [n / 7 + http2 * 10_000 for n in range(9000)]  # more than a request takes
        answers = client.predict_batch({"x": xs})
        assert [a["y"] for a in answers] == pytest.approx([2 * x for x in xs], rel=1e-6)


def test_calls_outlive_a_worker_that_is_paused_or_killed(service: Service) -> None:
    """The only worker of the only host: retried until there is a new one."""
    options = replace(QUIET, timeout_seconds=60)
    with Client("scale", service.url, options=options) as client:
        assert client.predict(x=0.5) == {"y": 1.0}
        (worker,) = service.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        with pytest.raises(Exception, match=r"no answer in|no time") as caught:
            client.predict(x=1.5, timeout_seconds=0.3)
        assert type(caught.value).__name__ == "DeadlineExceeded"
        assert client.predict(x=0.5).tier == "local"
        os.kill(worker, signal.SIGCONT)
        assert client.predict(x=1.5) == {"y": 3.0}
        os.kill(worker, signal.SIGKILL)
        assert client.predict(x=2.5) == {"y": 5.0}
        wait_for(lambda: service.worker_pids() not in ([worker], []))


def test_a_new_version_is_never_answered_from_the_old_one(
    service: Service, tmp_path: Path
) -> None:
    options = Options(refresh_seconds=0.2, timeout_seconds=30)
    with Client("scale", service.url, options=options) as client:
        before = client.predict(x=4.0)
        assert (before, before.version) == ({"y": 8.0}, service.version("scale"))
        new = saved_models.scale(tmp_path / "new", 3.0)
        service.stage("scale", new)
        shutil.rmtree(service.folder / "scale")
        new.rename(service.folder / "scale")
        factors = {before.version: 2.0}

        def is_new() -> bool:
            for x in (4.0, random.uniform(0, 9)):
                answer = client.predict(x=x)
                factor = factors.setdefault(answer.version, 3.0)
                assert answer["y"] == pytest.approx(x * factor, rel=1e-6)
            return client.version != before.version

        wait_for(is_new)
        again = client.predict(x=4.0)
        assert (again, again.version) == ({"y": 12.0}, service.version("scale"))


@pytest.mark.asyncio
async def test_calls_on_an_event_loop(service: Service) -> None:
    async with AsyncClient("vectors", service.url, options=QUIET) as client:
        contract = Contract.parse(
            await asyncio.to_thread(_contract, service, "vectors")
        )
        chance = random.Random(3)
        pairs = list(zip(contract.signature.fields, contract.kinds, strict=True))
        rows = [{t.name: drawn(t, k, chance) for t, k in pairs} for _ in range(300)]
        answers = await asyncio.gather(*(client.predict(row) for row in rows))
        assert answers == await client.predict_batch(rows)


def _contract(service: Service, model: str) -> bytes:
    return service.get(f"/v1/api/model/{model}/meta/contract").content


def test_the_contract_has_rounded_inputs(service: Service) -> None:
    contract = Contract.parse(_contract(service, "keras"))
    assert any(isinstance(kind, Rounded) for kind in contract.kinds)
