"""A ranking model, whose softmax runs over the rows of a request: served as a whole."""

import math
import random
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
import tensorflow as tf

from gomlx import Client
from gomlx.client.columns import columns_of_batch
from gomlx.client.local.together import TogetherModel
from gomlx.contract.document import Contract
from gomlx.errors import InvalidInput, RunFailed, TooLarge
from tests.cli.test_cli import gomlx
from tests.client.fake import QUIET
from tests.support import redis_servers
from tests.support.saved_models import save, spec
from tests.support.service import Service, running, wait_for

MOST = 8  # rows of a request
TRANSFORMER = """
def best(inputs, outputs):
    return {"x": inputs["x"], "percent": round(100 * outputs["p"])}
"""


def ranking(path: Path) -> Path:
    """p = the softmax of x over the request; it fails for a negative x."""

    def f(x: Any) -> Any:
        checked = tf.debugging.assert_non_negative(x)
        with tf.control_dependencies([checked]):
            return {"p": tf.nn.softmax(x, axis=0)}

    return save(path, f, [spec("x")])


def widths(path: Path) -> Path:
    """Rows of any width, each as a share of the sum of all."""

    def f(x: Any) -> Any:
        return {"p": tf.reduce_sum(x, 1) / tf.reduce_sum(x)}

    return save(path, f, [spec("x", shape=(None, None))])


def tempered(path: Path) -> Path:
    """The softmax of x / t, where a request has one t."""

    def f(x: Any, t: Any) -> Any:
        return {"p": tf.nn.softmax(x / t, axis=0)}

    return save(path, f, [spec("x"), spec("t", shape=())])


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis_servers.Server]:
    with redis_servers.server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, redis: redis_servers.Server
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("together")
    ranking(folder / "ranking")
    widths(folder / "widths")
    tempered(folder / "tempered")
    (folder / "ranks.py").write_text(TRANSFORMER)
    batch = {"rows": "together", "max_rows": MOST}
    common = {"url": "./ranking", "batch": batch}
    config = {
        "models": [
            {"id": "m", "datastore": "both", **common},
            {"id": "far", "datastore": "redis", **common},
            {"id": "plain", **common},
            {"id": "fleet", "datastore": "both", "coalesce": "fleet", **common},
            {"id": "best", "transformer": "ranks:best", "datastore": "both", **common},
            {"id": "alone", "url": "./ranking", "batch": {"rows": "alone"}},
            {"id": "unsaid", "url": "./ranking"},
            {"id": "widths", "url": "./widths", "datastore": "both", "batch": batch},
            {
                **{"id": "tempered", "url": "./tempered", "example": {"t": 1}},
                **{"datastore": "both", "batch": batch},
            },
        ],
        "datastores": [
            {"id": "both", "memory_mb": 16, "tiers": [{"connection": "near"}]},
            {"id": "redis", "memory_mb": 0, "tiers": [{"connection": "near"}]},
        ],
        "connections": [{"id": "near", "url": redis.url, "timeout_seconds": 30}],
    }
    with running(folder, config) as started:
        yield started


def softmax(xs: Sequence[float]) -> list[float]:
    powers = [math.exp(x) for x in xs]
    return [power / sum(powers) for power in powers]


def post(service: Service, xs: Sequence[float], model: str = "m") -> httpx.Response:
    body = {"batch_size": len(xs), "x": list(xs)}
    return service.client.post(f"/v1/api/model/{model}/eval", json=body)


def shares(reply: httpx.Response) -> list[float]:
    assert reply.status_code == 200, reply.text
    return [row["p"] for row in reply.json()["data"]]


def near(xs: Sequence[float]) -> Any:
    return pytest.approx(softmax(xs), rel=1e-5)


@pytest.mark.parametrize("model", ["m", "far", "plain"])
def test_a_request_is_answered_as_a_whole(service: Service, model: str) -> None:
    for xs in ([0.5, 1.5, 2.5], [2.5, 1.5, 0.5], [0.5, 1.5], [0.5, 0.5, 1.5], [7.0]):
        for _ in range(3):
            assert shares(post(service, xs, model)) == near(xs)


def test_one_row_is_a_list_of_one(service: Service) -> None:
    reply = service.client.get("/v1/api/model/m/eval?x=3")
    assert reply.json()["data"] == [{"p": 1.0}]
    same = service.client.post("/v1/api/model/m/eval", json={"x": 3.0})
    assert same.json()["data"] == [{"p": 1.0}]


def test_hits_are_of_the_request_and_its_order(service: Service) -> None:
    def outcome(xs: Sequence[float]) -> str:
        return str(post(service, xs).headers["cache-status"])

    assert outcome([4.0, 5.0]) == "gomlx; fwd=miss; stored"
    assert outcome([4.0, 5.0]) == "gomlx; hit; detail=L1"
    assert outcome([5.0, 4.0]) == "gomlx; fwd=miss; stored"
    assert outcome([4.0]) == "gomlx; fwd=miss; stored"
    assert outcome([4.0, 5.0, 4.0]) == "gomlx; fwd=miss; stored"
    bypass = post(service, [4.0, 5.0], "plain").headers["cache-status"]
    assert bypass.startswith("gomlx; fwd=bypass")


def test_a_hit_in_redis(service: Service) -> None:
    xs = [1.25, 2.25]
    assert shares(post(service, xs, "far")) == near(xs)
    hits = wait_for(lambda: _hits(service, xs), what="a hit in Redis")
    assert shares(hits[0]) == near(xs)


def _hits(service: Service, xs: Sequence[float]) -> list[httpx.Response]:
    reply = post(service, xs, "far")
    is_hit = reply.headers["cache-status"] == "gomlx; hit; detail=near"
    return [reply] if is_hit else []


FORGED = [
    b'[{"p":0.5}]',
    b'[{"p":0.5},{"p":0.25},{"p":0.25}]',
    b'{"p":0.5}',
    b'[{"p":0.5},{"q":0.5}]',
    b"[]",
]


@pytest.mark.parametrize("forged", FORGED)
def test_what_cannot_be_the_answer_is_not_taken_from_redis(
    service: Service, redis: redis_servers.Server, forged: bytes
) -> None:
    xs = [float(FORGED.index(forged)), 77.0]
    with Client("far", service.url, options=QUIET) as client:
        assert client.contract is not None
        (name,) = names(client.contract, xs)
    redis.execute("SET", name, forged.decode())
    assert shares(post(service, xs, "far")) == near(xs)


def names(contract: Contract, xs: Sequence[float]) -> list[str]:
    model = TogetherModel(contract, QUIET)
    rows = model.rows(columns_of_batch({"x": list(xs)}))
    return [name.decode() for name in model.shared_names(rows.canonical)]


@pytest.mark.parametrize("model", ["m", "far", "plain", "fleet"])
def test_requests_under_way_never_mix(service: Service, model: str) -> None:
    start = threading.Barrier(8)

    def ask(seed: int) -> list[tuple[list[float], list[float]]]:
        randomness = random.Random(seed)
        found = []
        with service.connect() as client:
            start.wait(30)
            for _ in range(60):
                size = randomness.randint(1, MOST)
                xs = [randomness.randrange(6) / 2 for _ in range(size)]
                body = {"batch_size": size, "x": xs}
                reply = client.post(f"/v1/api/model/{model}/eval", json=body)
                found.append((xs, shares(reply)))
        return found

    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(ask, range(8)):
            for xs, answer in found:
                assert answer == near(xs)


def test_a_row_that_fails_fails_the_request(service: Service) -> None:
    reply = post(service, [1.0, -1.0, 2.0])
    assert reply.status_code == 500
    assert shares(post(service, [1.0, 2.0])) == near([1.0, 2.0])


def test_the_limits_of_a_request(service: Service) -> None:
    xs = [0.25 * n for n in range(MOST)]
    assert shares(post(service, xs)) == near(xs)
    too_many = post(service, [*xs, 9.0])
    assert too_many.status_code == 413
    assert f"at most {MOST} rows in a request" in too_many.json()["error"]
    none = post(service, [])
    assert none.status_code == 400
    assert "batch_size" in none.json()["error"]


def test_rows_of_one_shape_run_together(service: Service) -> None:
    body = {"batch_size": 2, "x": [[1, 2, 3], [4, 0, 0]]}
    reply = service.client.post("/v1/api/model/widths/eval", json=body)
    assert shares(reply) == pytest.approx([0.6, 0.4])
    body["x"] = [[1, 2, 3], [4]]
    refused = service.client.post("/v1/api/model/widths/eval", json=body)
    assert refused.status_code == 400
    assert "input 'x', row 1" in refused.json()["error"]
    assert "run together" in refused.json()["error"]


def test_an_input_that_a_request_has_once(service: Service) -> None:
    def ask(t: Any) -> httpx.Response:
        body = {"batch_size": 2, "x": [1, 3], "t": t}
        return service.client.post("/v1/api/model/tempered/eval", json=body)

    for _ in range(2):
        assert shares(ask(2)) == near([0.5, 1.5])
        assert shares(ask(0.5)) == near([2.0, 6.0])
        assert shares(ask([4])) == near([0.25, 0.75])
    refused = ask([2, 4])
    assert refused.status_code == 400
    assert "input 't': expected one value for all rows" in refused.json()["error"]


def test_a_transformer_gets_row_after_row(service: Service) -> None:
    wanted = [{"x": 0.0, "percent": 12}, {"x": 2.0, "percent": 88}]
    for _ in range(2):
        assert post(service, [0.0, 2.0], "best").json()["data"] == wanted


def test_each_line_of_a_stream_is_a_request(service: Service) -> None:
    requests = [[1.0, 2.0], [2.0], [2.0, 1.0]]
    lines = [orjson.dumps({"batch_size": len(xs), "x": xs}) for xs in requests]
    path = "/v1/api/model/m/stream"
    reply = service.client.post(path, content=b"\n".join(lines))
    answers = [orjson.loads(line) for line in reply.text.splitlines()]
    for xs, answer in zip(requests, answers, strict=True):
        assert [row["p"] for row in answer["data"]] == near(xs)


def test_how_many_rows_a_run_had_is_counted(service: Service) -> None:
    def rows() -> float:
        text = service.client.get("/metrics").text
        name = 'gomlx_batch_rows_sum{model="plain"}'
        return float(
            next(x for x in text.splitlines() if x.startswith(name))[len(name) :]
        )

    before = rows()
    post(service, [1.0, 2.0, 3.0], "plain")
    wait_for(lambda: rows() == before + 3, what="three rows to be counted")


def test_the_client_asks_whole_requests(
    service: Service, redis: redis_servers.Server
) -> None:
    for http2 in (False, True):
        with Client("m", service.url, options=replace(QUIET, http2=http2)) as client:
            xs = [6.0, 5.5, 6.0 + http2]
            first = client.predict_batch({"x": xs})
            assert [answer["p"] for answer in first] == near(xs)
            again = client.predict_batch({"x": xs})
            assert again == first
            assert {answer.tier for answer in again} == {"local"}
            turned = client.predict_batch({"x": xs[::-1]})
            assert [answer["p"] for answer in turned] == near(xs[::-1])
            assert client.predict(x=6.0) == {"p": 1.0}
            assert client.predict(x=6.0).tier == "local"
            assert client.predict_batch({"x": []}) == []
            with pytest.raises(RunFailed):
                client.predict_batch({"x": [1.0, -1.0]})
            with pytest.raises(TooLarge):
                client.predict_batch({"x": [1.0] * (MOST + 1)})
            with pytest.raises(InvalidInput):
                client.predict_batch({"x": [1.0, "two"]})
            with pytest.raises(ValueError, match="rows of a request together"):
                list(client.stream({"x": x} for x in xs))


def test_the_client_reads_them_in_redis(
    service: Service, redis: redis_servers.Server
) -> None:
    xs = [3.5, 2.5]
    with Client("far", service.url, options=QUIET) as client:
        served = client.predict_batch({"x": xs})
        contract = client.contract
    assert contract is not None
    (name,) = names(contract, xs)
    wait_for(lambda: redis.execute("EXISTS", name) == 1, what="the answer in Redis")
    options = replace(QUIET, redis_seconds=30.0)
    offline = Client(
        "far", "http://127.0.0.1:9", contract=contract, redis=redis.url, options=options
    )
    with offline:
        found = offline.predict_batch({"x": xs})
    assert found == served
    assert {answer.tier for answer in found} == {"redis"}


def test_a_file_does_not_say_which_rows_belong_together(
    service: Service, tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").write_text("x\n1\n2\n")
    files = ("-i", "rows.csv", "-o", "answers.csv")
    done = gomlx("predict", "--host", service.url, "m", *files, cwd=tmp_path)
    assert done.returncode == 2
    assert "answers the rows of a request together" in done.stderr
    one = gomlx("predict", "--host", service.url, "m", "x=2", cwd=tmp_path)
    assert one.stdout.strip() == '{"p":1.0}'


def test_who_reads_about_the_model_learns_it(service: Service) -> None:
    contract = service.client.get("/v1/api/model/m/meta/contract").json()
    assert (contract["format"], contract["rows_together"]) == (2, True)
    assert contract["max_rows"] == MOST
    config = service.client.get("/v1/api/model/m/meta/config").json()
    assert (config["ID"], config["Cache"]) == ("", None)  # mly's clients keep nothing
    assert config["RowsApart"] == "the config says `rows: together`"
    text = service.client.get("/metrics").text
    assert 'gomlx_model_joins_rows{model="m"} 0' in text


def test_a_listwise_model_of_which_the_config_says_nothing(service: Service) -> None:
    refused = post(service, [1.0, 2.0], "unsaid")
    assert refused.status_code == 503
    assert "`batch: {rows: together}`" in refused.json()["error"]
    assert shares(post(service, [1.0, 2.0], "alone")) == [1.0, 1.0]
