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


def saved(path: Path, *names: str) -> Path:
    """Save a model whose signature number i answers y = i x, for i from 1."""
    module = tf.Module()
    signatures = {}
    for i, name in enumerate(names, 1):
        signatures[name] = tf.function(
            lambda x, factor=float(i): {"y": x * factor}, input_signature=[spec("x")]
        )
        setattr(module, f"f{i}", signatures[name])
    tf.saved_model.save(module, str(path), signatures=signatures)
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("signatures")
    saved(folder / "m", "serving_default", "double", "unserved")
    saved(folder / "lone", "score")
    config = {
        "models": [
            {"id": "m", "url": "m", "datastore": "a", "signatures": ["double"]},
            {"id": "lone", "url": "lone"},
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


def test_the_only_signature_needs_no_name(service: Service) -> None:
    found = service.client.post("/v1/api/model/lone/eval", json={"x": 3.0})
    assert found.json()["data"] == {"y": 3.0}


def test_each_signature_has_its_metrics(service: Service) -> None:
    service.client.post("/v1/api/model/m/eval?signature=double", json={"x": 1.0})
    text = service.client.get("/metrics").text
    assert 'gomlx_requests_total{code="200",model="m:double"}' in text
