"""An id that only goes through a model: it is in the answer, and in no key."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import tensorflow as tf

from gomlx import Client
from gomlx.client.answer import Answer
from gomlx.errors import DeadlineExceeded, NoHost
from tests.client.fake import QUIET
from tests.support import redis_servers
from tests.support.saved_models import save, spec
from tests.support.service import Service, running, wait_for

FAR = "far"  # the id of a model whose answers are in Redis only


def through(path: Path) -> Path:
    def f(id: Any, n: Any, x: Any) -> Any:
        return {"id": id, "number": tf.identity(n), "y": x * 2.0}

    specs = [
        spec("id", "string", [None]),
        spec("n", "int64", [None]),
        spec("x", shape=[None]),
    ]
    return save(path, f, specs)


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_servers.Server]:
    with redis_servers.server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis: redis_servers.Server
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("echoes")
    through(folder / "m")
    config = {
        "models": [
            {"id": "m", "url": "./m", "datastore": "both"},
            {"id": FAR, "url": "./m", "datastore": "redis"},
            {"id": "plain", "url": "./m"},
        ],
        "datastores": [
            {"id": "both", "memory_mb": 16, "tiers": [{"connection": "near"}]},
            {"id": "redis", "memory_mb": 0, "tiers": [{"connection": "near"}]},
        ],
        "connections": [{"id": "near", "url": redis.url, "timeout_seconds": 30}],
    }
    with running(folder, config) as started:
        yield started


def post(service: Service, body: dict[str, Any], model: str = "m") -> httpx.Response:
    reply = service.client.post(f"/v1/api/model/{model}/eval", json=body)
    assert reply.status_code == 200, reply.text
    return reply


@pytest.mark.parametrize("model", ["m", FAR, "plain"])
def test_rows_that_differ_in_it_share_an_answer(service: Service, model: str) -> None:
    for i, id in enumerate(["a", "b", 'quote "', "ä", "", "a"]):
        reply = post(service, {"id": id, "n": i, "x": 1.5}, model)
        assert reply.json()["data"] == {"y": 3.0, "id": id, "number": i}
        is_first = i == 0 or model == "plain"
        assert ("; hit" in reply.headers["cache-status"]) is not is_first


def test_every_row_of_a_batch_has_its_own(service: Service) -> None:
    ids = ["p", "q", "p", "r"]
    xs = [5.0, 5.0, 6.0, 7.0]
    body = {"batch_size": 4, "id": ids, "n": [1], "x": xs}
    expected = [
        {"y": 2 * x, "id": id, "number": 1} for id, x in zip(ids, xs, strict=True)
    ]
    for _ in range(2):
        reply = post(service, body)
        assert reply.json()["data"] == expected
    assert 'rows=4,hits=4"' in reply.headers["cache-status"]


def test_bytes_that_are_not_utf8(service: Service) -> None:
    for text in ("/w==", "/v8="):
        body = {"id": {"b64": text}, "n": 1, "x": 9.0}
        assert post(service, body).json()["data"]["id"] == {"b64": text}


def test_the_query_form(service: Service) -> None:
    for id in ("k", "l"):
        reply = service.client.get(f"/v1/api/model/m/eval?id={id}&n=7&x=11")
        assert reply.json()["data"] == {"y": 22.0, "id": id, "number": 7}


def test_rows_that_differ_in_it_share_an_answer_of_the_client(
    service: Service,
) -> None:
    ids = ["c1", "c2", "c1", 'quote "', ""]
    with Client("m", service.url, options=QUIET) as client:
        for i, id in enumerate(ids):
            answer = client.predict(id=id, n=i, x=20.0)
            assert answer == {"y": 40.0, "id": id, "number": i}
            assert (answer.tier == "local") is (i > 0)
        raw = client.predict(id=b"\xff", n=2.0, x=20)
        assert (raw["id"], raw["number"], raw.tier) == (b"\xff", 2, "local")
        columns = {"id": ["c2", "c3", "c4"], "n": [3], "x": [20.0, 20.0, 21.0]}
        for _ in range(2):
            batch = client.predict_batch(columns)
            assert [one["id"] for one in batch] == columns["id"]
            assert [one["y"] for one in batch] == [40.0, 40.0, 42.0]
        # The empty id is that of the canonical row, which is not the row as it came.
        assert client.predict(id="", n=0, x=20.0)["id"] == ""


def test_the_client_reads_them_in_redis(
    service: Service, redis: redis_servers.Server
) -> None:
    rows = {"id": ["r1", "r2", "r3"], "n": [1, 2, 3], "x": [31.0, 31.0, 32.0]}
    with Client(FAR, service.url, options=QUIET) as client:
        served = client.predict_batch(rows)
        contract = client.contract
    options = replace(QUIET, redis_seconds=30.0)
    offline = Client(
        FAR, "http://127.0.0.1:9", contract=contract, redis=redis.url, options=options
    )
    with offline:
        others = rows | {"id": ["r4", "r5", "r6"]}
        found = wait_for(lambda: _found(offline, others), what="the answers in Redis")
        again = offline.predict_batch(rows)
    assert [one["id"] for one in found] == others["id"]
    assert {one.tier for one in found} == {"redis"}
    assert again == served
    assert {one.tier for one in again} == {"local"}


def _found(client: Client, rows: dict[str, Any]) -> list[Answer]:
    try:
        return client.predict_batch(rows)
    except (NoHost, DeadlineExceeded):
        return []  # they are not written yet


def test_mly_clients_keep_nothing_of_it(service: Service) -> None:
    """Their keys would be equal, too, and what they keep holds another row's id."""
    document = service.client.get("/v1/api/model/m/meta/config").json()
    assert document["ID"] == ""
    names = [output["Name"] for output in document["Outputs"]]
    assert names == ["y", "id", "number"]
