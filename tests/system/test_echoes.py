"""An id that only goes through a model: it is in the answer, and in no key."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import tensorflow as tf

from gomlx import Client
from tests.client.fake import QUIET
from tests.support import redis_servers
from tests.support.saved_models import save, spec
from tests.support.service import Service, running

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
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("echoes")
    through(folder / "m")
    with redis_servers.server(folder) as redis:
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


def test_the_client_keeps_answers_by_row(service: Service) -> None:
    with Client("m", service.url, options=QUIET) as client:
        for _ in range(2):
            for id in ("c1", "c2"):
                answer = client.predict(id=id, n=3, x=20.0)
                assert answer == {"y": 40.0, "id": id, "number": 3}
        assert answer.tier == "local"
        batch = client.predict_batch(
            {"id": ["c2", "c3"], "n": [3, 4], "x": [20.0, 20.0]}
        )
    assert [one["id"] for one in batch] == ["c2", "c3"]
    assert [one["number"] for one in batch] == [3, 4]


def test_mly_clients_keep_nothing_of_it(service: Service) -> None:
    """Their keys would be equal, too, and what they keep holds another row's id."""
    document = service.client.get("/v1/api/model/m/meta/config").json()
    assert document["ID"] == ""
    names = [output["Name"] for output in document["Outputs"]]
    assert names == ["y", "id", "number"]
