"""A model with several signatures: each is served, by the query and by the client."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

import gomlx
from tests.support.saved_models import spec
from tests.support.service import Service, running


def scaling(factor: float) -> Any:
    return tf.function(lambda x: {"y": x * factor}, input_signature=[spec("x")])


def refused() -> Any:
    """A function whose answer cannot be written as JSON."""
    return tf.function(
        lambda x: {"y": tf.cast(x, tf.complex64)}, input_signature=[spec("x")]
    )


def saved(path: Path, **functions: Any) -> Path:
    """Save a model with a signature for each function; a number is what it scales by"""
    module = tf.Module()
    module.functions = {
        name: scaling(float(one)) if isinstance(one, int) else one
        for name, one in functions.items()
    }
    tf.saved_model.save(module, str(path), signatures=dict(module.functions))
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("signatures")
    saved(folder / "m", serving_default=1, double=2, unserved=3)
    saved(folder / "lone", score=1)
    saved(folder / "all", serving_default=1, double=2, serve=1, bad=refused())
    config = {
        "models": [
            {"id": "m", "url": "m", "datastore": "a", "signatures": ["double"]},
            {"id": "lone", "url": "lone"},
            {"id": "all", "url": "all", "datastore": "a"},
        ],
        "datastores": [{"id": "a", "memory_mb": 16}],
    }
    with running(folder, config) as started:
        yield started


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"y": 3.0}),
        ("?signature=serving_default", {"y": 3.0}),
        ("?signature=double", {"y": 6.0}),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_a_signature_is_chosen_in_the_query(
    service: Service, query: str, expected: Any, again: bool
) -> None:
    body = {"x": 3.0}
    found = service.client.post(f"/v1/api/model/m/eval{query}", json=body)
    assert found.json()["data"] == expected


def test_a_row_in_the_query_beside_the_signature(service: Service) -> None:
    found = service.client.get("/v1/api/model/m/eval?x=4&signature=double")
    assert found.json()["data"] == {"y": 8.0}


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_unknown_signature_is_not_found(service: Service, method: str) -> None:
    url = "/v1/api/model/m/eval?signature=unserved"
    found = service.client.request(method, url, json={"x": 3.0})
    assert found.status_code == 404
    assert "there are: double, serving_default" in found.text


@pytest.mark.parametrize("route", ["meta/contract", "meta/config", "meta/dictionary"])
def test_what_is_said_of_a_model_is_said_of_a_signature(
    service: Service, route: str
) -> None:
    own = service.client.get(f"/v1/api/model/m/{route}")
    other = service.client.get(f"/v1/api/model/m/{route}?signature=double")
    assert own.status_code == other.status_code == 200
    assert own.json() != other.json()


def test_rows_are_streamed_to_a_signature(service: Service) -> None:
    url = "/v1/api/model/m/stream?signature=double"
    found = service.client.post(url, content=b'{"x": 5}\n')
    assert '{"y":10.0}' in found.text


def test_the_client_predicts_by_a_signature(service: Service) -> None:
    with gomlx.Client("m", service.url, signature="double") as client:
        assert client.predict({"x": 7.0})["y"] == 14.0


def test_the_command_predicts_by_a_signature(service: Service) -> None:
    command = [sys.executable, "-m", "gomlx", "predict", "--host", service.url, "m"]
    words = ["x=8", "--signature", "double"]
    done = subprocess.run([*command, *words], capture_output=True, check=True)
    assert b"16" in done.stdout


@pytest.mark.parametrize(
    ("signature", "expected"),
    [("serving_default", 3.0), ("double", 6.0), ("serve", 3.0)],
)
@pytest.mark.parametrize("again", [False, True])
def test_all_signatures_are_served_without_being_listed(
    service: Service, signature: str, expected: float, again: bool
) -> None:
    url = f"/v1/api/model/all/eval?signature={signature}"
    found = service.client.post(url, json={"x": 3.0})
    assert found.json()["data"] == {"y": expected}


def test_another_name_has_the_answers_of_the_signature(service: Service) -> None:
    service.client.post("/v1/api/model/all/eval", json={"x": 17.0})
    url = "/v1/api/model/all/eval?signature=serve"
    found = service.client.post(url, json={"x": 17.0})
    assert "; hit" in found.headers["cache-status"]
    assert service.metric("gomlx_requests_total", model="all:serve") >= 1


@pytest.mark.parametrize("name", ["serve", "double"])
def test_the_client_predicts_by_each_of_them(service: Service, name: str) -> None:
    with gomlx.Client("all", service.url, signature=name) as client:
        assert client.predict({"x": 2.0})["y"] == {"serve": 2.0, "double": 4.0}[name]


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("route", ["eval", "meta/contract"])
def test_a_signature_that_is_refused_says_why(
    service: Service, method: str, route: str
) -> None:
    if route != "eval" and method != "GET":
        return
    url = f"/v1/api/model/all/{route}?signature=bad"
    found = service.client.request(method, url, json={"x": 3.0})
    assert found.status_code == 503
    assert "dtype complex64 is not supported" in found.text
    assert "retry-after" not in found.headers


def test_what_is_refused_is_shown_and_counts_for_nothing(service: Service) -> None:
    ready = service.client.get("/readyz")
    assert ready.status_code == 200
    assert "complex64" in ready.json()["models"]["all:bad"]["problem"]
    signatures = service.get("/v1/api/model/all/meta/config").json()["Signatures"]
    assert signatures.pop("bad").startswith("output 'y': dtype complex64")
    assert signatures == {"double": "served", "serve": "served"}
    health = service.get("/v1/api/health").json()
    assert health == dict.fromkeys(
        ("m", "lone", "all", "m:double", "all:double", "all:serve"), 1
    )
    assert service.metric("gomlx_model_up", model="all:double") == 1
    assert "all:bad" not in service.get("/metrics").text
    version = service.version("all")
    assert service.metric("gomlx_model_info", model="all:serve", version=version) == 1


def test_the_only_signature_needs_no_name(service: Service) -> None:
    found = service.client.post("/v1/api/model/lone/eval", json={"x": 3.0})
    assert found.json()["data"] == {"y": 3.0}


def test_the_only_signature_has_its_name(service: Service) -> None:
    url = "/v1/api/model/lone/eval?signature=score"
    assert service.client.post(url, json={"x": 3.0}).json()["data"] == {"y": 3.0}


def test_each_signature_has_its_metrics(service: Service) -> None:
    service.client.post("/v1/api/model/m/eval?signature=double", json={"x": 1.0})
    text = service.client.get("/metrics").text
    assert 'gomlx_requests_total{code="200",model="m:double"}' in text
