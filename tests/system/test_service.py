"""A whole service, as a user starts it, on models of three generations."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.duplex import connected
from tests.server.many_streams import ask_at_once
from tests.support import saved_models
from tests.support.service import Service, running, wait_for


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    models: list[dict[str, Any]] = [
        {"id": "keras", "url": str(saved_models.keras(folder / "keras"))},
        {"id": "scale", "url": str(saved_models.scale(folder / "scale" / "7", 2.0))},
        {"id": "pick", "url": str(saved_models.pick(folder / "pick"))},
        {"id": "dice", "url": str(saved_models.dice(folder / "dice"))},
        {"id": "sleeper", "url": str(saved_models.sleeper(folder / "sleeper"))},
        {"id": "plain", "url": str(saved_models.scale(folder / "plain", 3.0))},
        {"id": "counted", "url": str(folder / "plain")},  # one test alone uses it
        {"id": "absent", "url": str(folder / "nothing-here")},
    ]
    models[1]["url"] = str(folder / "scale")
    for model in models:
        if model["id"] not in ("plain", "counted"):
            model["datastore"] = "answers"
    config = {
        "endpoint": {"workers": 2, "max_body_bytes": 100_000},
        "models": models,
        "datastores": [{"id": "answers", "memory_mb": 16}],
    }
    with running(folder, config) as service:
        yield service


def is_cached(service: Service, model: str, row: Any) -> bool:
    """True as soon as every worker finds the answer in shared memory."""
    return all(
        "; hit" in service.post_anew(model, row).headers["cache-status"]
        for _ in range(6)
    )


def test_a_miss_then_a_hit_on_every_worker(service: Service) -> None:
    first = service.post("scale", {"x": 1.25})
    assert first.json()["data"] == {"y": 2.5}
    assert first.headers["cache-status"] == "gomlx; fwd=miss; stored"
    again = service.post("scale", {"x": 1.25})
    assert again.headers["cache-status"] == "gomlx; hit; detail=L1"
    assert again.json()["data"] == {"y": 2.5}
    wait_for(lambda: is_cached(service, "scale", {"x": 1.25}))


def test_the_response_names_its_version(service: Service) -> None:
    response = service.post("scale", {"x": 2})
    version = service.version("scale")
    assert response.headers["gomlx-version"] == version
    expected = int.from_bytes(bytes.fromhex(version)[:8], "big", signed=True)
    document = response.json()
    assert list(document) == ["status", "dictHash", "serviceTimeMcs", "data"]
    assert document["status"] == "ok"
    assert document["dictHash"] == expected
    assert response.headers["content-type"] == "application/json"


def test_get(service: Service) -> None:
    response = service.get("/v1/api/model/keras/eval?city=rome&day=1&price=2.5")
    posted = service.post("keras", {"city": "rome", "day": 1, "price": 2.5})
    assert response.json()["data"] == posted.json()["data"]
    assert "; hit" in posted.headers["cache-status"]


def test_a_batch_with_its_size_last_and_a_broadcast_column(service: Service) -> None:
    cities = ["rome", "oslo", "?"]
    prices = [0, 2, 9]
    batch = {"city": cities, "day": [1], "price": prices, "batch_size": 3}
    response = service.post("keras", batch)
    rows = [
        service.post("keras", {"city": city, "day": 1, "price": price}).json()["data"]
        for city, price in zip(cities, prices, strict=True)
    ]
    assert response.json()["data"] == rows


def test_a_batch_is_looked_up_row_by_row(service: Service) -> None:
    service.post("scale", {"x": [7.0, 8.0], "batch_size": 2})
    response = service.post("scale", {"x": [8.0, 9.0, 7.0, 9.0], "batch_size": 4})
    assert [row["y"] for row in response.json()["data"]] == [16.0, 18.0, 14.0, 18.0]
    expected = 'gomlx; fwd=partial; stored; detail="rows=4,hits=2"'
    assert response.headers["cache-status"] == expected


def test_a_model_without_datastore_is_never_cached(service: Service) -> None:
    for _ in range(2):
        response = service.post("plain", {"x": 1})
        bypass = "gomlx; fwd=bypass; detail=no-datastore"
        assert response.headers["cache-status"] == bypass
        assert response.json()["data"] == {"y": 3.0}


def test_a_model_that_varies_is_never_cached(service: Service) -> None:
    answers = {service.post("dice", {"x": 0}).json()["data"]["y"] for _ in range(5)}
    assert len(answers) == 5
    response = service.post("dice", {"x": 0})
    assert (
        response.headers["cache-status"] == "gomlx; fwd=bypass; detail=unsteady-model"
    )


def test_an_expensive_model_leaves_the_loop_free(service: Service) -> None:
    response = service.post("sleeper", {"x": 1.5})
    assert response.json()["data"] == {"y": 1.5}


def test_a_row_that_tensorflow_refuses(service: Service) -> None:
    response = service.post("pick", {"x": 5})
    assert response.status_code == 500
    document = response.json()
    assert document["status"] == "error"
    assert "model 'pick' failed" in document["error"]
    assert not document["error"].startswith("row ")
    batch = {"x": [0, 1, 2, 7, 1, 0, 5], "batch_size": 7}
    response = service.post("pick", batch)
    assert response.status_code == 500
    assert response.json()["error"].startswith("row 3: model 'pick' failed")
    assert service.post("pick", {"x": 2}).json()["data"] == {"y": 12.0}


BAD = {
    "not JSON": (b"{", "malformed JSON"),
    "not an object": (b"[1]", "expected a JSON object"),
    "unknown input": (b'{"x":1,"z":2}', "'z'"),
    "missing input": (b"{}", "'x'"),
    "wrong type": (b'{"x":"a"}', "input 'x'"),
    "wrong shape": (b'{"x":[1,2]}', "input 'x'"),
    "null": (b'{"x":null}', "input 'x'"),
    "NaN": (b'{"x":NaN}', "input 'x'"),
    "infinite": (b'{"x":1e39}', "input 'x'"),
    "scalar column": (b'{"x":1,"batch_size":2}', "input 'x'"),
    "short column": (b'{"x":[1,2],"batch_size":3}', "input 'x'"),
    "bad row": (b'{"x":[1,"a",3],"batch_size":3}', "input 'x', row 1"),
    "NaN in a batch": (b'{"x":[1,2,NaN],"batch_size":3}', "input 'x', row 2"),
    "no rows": (b'{"x":[],"batch_size":0}', "batch_size"),
}


@pytest.mark.parametrize("what", BAD)
def test_bad_input_names_what_is_wrong(service: Service, what: str) -> None:
    body, expected = BAD[what]
    response = service.client.post("/v1/api/model/scale/eval", content=body)
    assert response.status_code == 400
    document = response.json()
    assert document["status"] == "error"
    assert expected in document["error"]


def test_bad_input_over_the_asgi_path_is_the_same(service: Service) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"x":'
        yield b'"a"}'

    path = "/v1/api/model/scale/eval"
    chunked = service.client.post(path, content=chunks())
    plain = service.client.post(path, content=b'{"x":"a"}')
    assert chunked.status_code == plain.status_code == 400
    assert chunked.json() == plain.json()


def test_an_int_out_of_range(service: Service) -> None:
    response = service.post("pick", {"x": 2**63})
    assert response.status_code == 400
    assert "int64" in response.json()["error"]


def test_an_unknown_model(service: Service) -> None:
    response = service.post("scales", {"x": 1})
    assert response.status_code == 404
    assert "scale" in response.json()["error"]


def test_an_unknown_path(service: Service) -> None:
    response = service.get("/v2/nothing")
    assert response.status_code == 404
    assert "/v1/api/model/ID/eval" in response.json()["error"]


def test_another_method(service: Service) -> None:
    response = service.client.put("/v1/api/model/scale/eval", json={"x": 1})
    assert response.status_code == 405
    assert "GET" in response.headers["allow"]


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_over_the_limit(service: Service, is_chunked: bool) -> None:
    body = b'{"x":' + b" " * 100_000 + b"1}"
    with service.connect() as client:
        content = iter([body[:50_000], body[50_000:]]) if is_chunked else body
        response = client.post("/v1/api/model/scale/eval", content=content)
    assert response.status_code == 413
    assert "100000" in response.json()["error"]


def test_more_rows_than_the_limit(service: Service) -> None:
    response = service.post("scale", {"x": [1], "batch_size": 10**9})
    assert response.status_code == 413
    assert "4096" in response.json()["error"]


def test_a_missing_model_is_reported_and_the_others_serve(
    service: Service,
) -> None:
    response = service.post("absent", {"x": 1})
    assert response.status_code == 503
    assert "no saved_model.pb" in response.json()["error"]
    assert response.headers["retry-after"]
    health = service.get("/v1/api/health").json()
    assert health["absent"] == 0
    assert sum(health.values()) == len(health) - 1
    ready = service.get("/readyz")
    assert ready.status_code == 503
    assert not ready.json()["models"]["absent"]["ready"]
    assert "saved_model.pb" in ready.json()["models"]["absent"]["problem"]


def test_live(service: Service) -> None:
    assert service.get("/livez").json() == {"live": True}


def test_config_is_shown(service: Service) -> None:
    document = service.get("/v1/api/config/").json()
    assert document["endpoint"]["workers"] == 2
    assert document == service.get("/v1/api/config").json()


def test_meta_config_is_what_an_mly_client_reads(service: Service) -> None:
    document = service.get("/v1/api/model/keras/meta/config").json()
    assert document["ID"] == "keras"
    assert document["Cache"]["SizeMb"] == 16
    assert document["TimeToLiveMs"] == 3_600_000
    assert [(i["Name"], i["DataType"]) for i in document["Inputs"]] == [
        ("city", "string"),
        ("day", "int64"),
        ("price", "float"),
    ]
    assert document["KeyFields"] == ["city", "day", "price"]
    output = {"Name": "score", "Index": 0, "DataType": "float32"}
    assert document["Outputs"] == [output]


@pytest.mark.parametrize("model", ["plain", "dice"])
def test_meta_config_has_no_id_for_what_must_not_be_cached(
    service: Service, model: str
) -> None:
    """plain has no datastore; dice has one, but its answers vary."""
    document = service.get(f"/v1/api/model/{model}/meta/config").json()
    assert (document["ID"], document["Cache"], document["Fields"]) == ("", None, None)
    absent = {"Connection", "Namespace", "Dataset", "TimeToLiveMs", "KeyFields"}
    assert not absent & document.keys()
    assert [field["Name"] for field in document["Outputs"]] == ["y"]
    contract = service.get(f"/v1/api/model/{model}/meta/contract").json()
    assert contract["ttl_seconds"] == 0


def samples(text: str, name: str) -> dict[str, float]:
    """The samples of one metric, by their labels."""
    lines = (x for x in text.splitlines() if x.startswith((f"{name}{{", f"{name} ")))
    parts = (line.rpartition(" ") for line in lines)
    return {labels.removeprefix(name): float(value) for labels, _, value in parts}


def test_metrics_of_all_workers(service: Service) -> None:
    def total() -> float:
        text = service.get("/metrics").text
        return samples(text, "gomlx_requests_total").get(
            '{code="200",model="counted"}', 0
        )

    def tallied() -> int:
        document = service.get("/v1/api/metric/operation/countedPerf").json()
        return int(document.get("Count", 0))

    for pid in service.worker_pids():
        with service.only(pid):
            for _ in range(5):
                service.post_anew("counted", {"x": 4})
    # A worker's tally is the last that it writes: all else has been counted then.
    wait_for(lambda: tallied() == 10)
    assert total() == 10
    for _ in range(2):
        service.post("scale", {"x": 4.25})
    text = service.get("/v1/prometheus").text
    version = service.version("counted")
    info = f'{{model="counted",version="{version}"}}'
    assert samples(text, "gomlx_model_info")[info] == 1
    reloads = samples(text, "gomlx_reloads_total")
    assert reloads['{model="counted",outcome="published"}'] == 1
    assert reloads['{model="absent",outcome="failed"}'] == 1
    assert samples(text, "gomlx_model_runs_total")['{model="counted"}'] == 10
    lookups = samples(text, "gomlx_cache_lookups_total")
    assert lookups['{datastore="answers",outcome="hit",tier="L1"}'] > 0
    # Answers are found before they are written.
    wait_for(lambda: service.metric("gomlx_store_bytes", datastore="answers") > 0)
    assert samples(text, "gomlx_store_evicted_bytes_total") == {
        '{datastore="answers",tier="L1"}': 0
    }
    seconds = samples(text, "gomlx_request_seconds_bucket")
    assert seconds['{le="+Inf",model="counted"}'] == 10


def test_http2_with_prior_knowledge(service: Service) -> None:
    with service.connect(http1=False, http2=True) as client:
        response = client.post("/v1/api/model/scale/eval", json={"x": 21})
        assert response.http_version == "HTTP/2"
        assert response.json()["data"] == {"y": 42.0}
        body = json.dumps({"x": [1, 2], "batch_size": 2}).encode()
        response = client.post("/v1/api/model/scale/eval", content=body)
        assert [row["y"] for row in response.json()["data"]] == [2.0, 4.0]
    with connected(service.url, None) as peer:
        for x, data in ask_at_once(peer, "/v1/api/model/scale/eval", 100).items():
            assert data == {"y": 2.0 * x}


def test_negative_zero_is_kept(service: Service) -> None:
    for x in (0.0, -0.0):
        answer = service.post("scale", {"x": x}).json()["data"]["y"]
        assert math.copysign(1, answer) == math.copysign(1, x)


def test_numbered_versions(service: Service) -> None:
    newer = Path(service.folder / "scale" / "10")
    before = service.version("scale")
    saved_models.scale(newer, 5.0)
    wait_for(lambda: service.version("scale") != before)
    wait_for(lambda: service.post("scale", {"x": 1}).json()["data"] == {"y": 5.0})
