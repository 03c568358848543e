"""What a client returns, from which tier, and what it requests: of a fake service."""

import itertools
import threading
from collections.abc import Iterator
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest

import gomlx
from gomlx import Client, FakeTransport
from gomlx.client.network.transport import Request, Response
from gomlx.client.options import Options
from gomlx.contract.canonical import Auxiliary, Exact
from gomlx.contract.document import Contract
from gomlx.contract.dtypes import ANY
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput, RunFailed
from tests.client.fake import QUIET, VERSION, doubling


@pytest.fixture
def transport() -> FakeTransport:
    return doubling()


@pytest.fixture
def client(transport: FakeTransport) -> Iterator[Client]:
    with Client("m", "http://fake", transport=transport, options=QUIET) as client:
        yield client


def test_a_row_is_requested_once(client: Client, transport: FakeTransport) -> None:
    started = perf_counter()
    first = client.predict(word="a", x=1.5)
    between = perf_counter()
    again = client.predict({"x": 1.5, "word": "a"})
    ended = perf_counter()
    assert first == again == {"y": 3.0}
    assert (first.tier, first.cached, first.version) == ("model", False, VERSION)
    assert (again.tier, again.cached, again.version) == ("local", True, VERSION)
    assert 0 < first.seconds <= between - started
    assert 0 < again.seconds <= ended - between
    assert transport.rows == [{"word": "a", "x": 1.5}]


def test_an_answer_belongs_to_its_caller(transport: FakeTransport) -> None:
    transport.answer = lambda row: {"y": [row["x"], [row["word"]]]}
    with Client("m", "http://fake", transport=transport) as client:
        for _ in range(3):
            answer = client.predict(word="a", x=1.0)
            assert answer == {"y": [1.0, ["a"]]}
            answer["y"][1].append("mine")
            answer["z"] = 1


@pytest.mark.parametrize("size", range(1, 9))
def test_every_mix_of_hits_and_misses(size: int) -> None:
    for known in itertools.product((False, True), repeat=size):
        transport = doubling()
        options = replace(QUIET, ttl_seconds=60)
        with Client("m", "http://f", transport=transport, options=options) as client:
            if before := [i for i in range(size) if known[i]]:
                client.predict_batch({"word": "w", "x": before})
            transport.rows.clear()
            # Every row twice, so that the same one is also missing twice.
            xs = [*range(size), *reversed(range(size))]
            answers = client.predict_batch({"word": ["w"], "x": xs})
            assert [a["y"] for a in answers] == [x * 2 for x in xs]
            requested = [row["x"] for row in transport.rows]
            assert requested == [i for i in range(size) if not known[i]]
            for i in range(size):  # no answer is kept for another row
                one = client.predict(word="w", x=i)
                assert (one["y"], one.tier) == (i * 2, "local")


def test_negative_zero_is_a_row_of_its_own(transport: FakeTransport) -> None:
    transport.answer = lambda row: {"y": str(float(row["x"]))}
    with Client("m", "http://f", transport=transport, options=QUIET) as client:
        for _ in range(3):
            assert client.predict(word="a", x=-0.0) == {"y": "-0.0"}
            assert client.predict(word="a", x=0) == {"y": "0.0"}
            assert client.predict(word="a", x=0.0) == {"y": "0.0"}
            batch = client.predict_batch({"word": "a", "x": [0.0, -0.0, 0]})
            assert [a["y"] for a in batch] == ["0.0", "-0.0", "0.0"]
    assert len(transport.rows) == 2


def test_equal_values_of_auxiliary_inputs_are_different_rows(
    transport: FakeTransport,
) -> None:
    """1, 1.0 and True are one key of a dict, but three rows."""
    signature = Signature((), (), (Tensor("who", ANY, ()), Tensor("trace", ANY, ())))
    kinds = (Auxiliary(True, ""), Auxiliary(False, ""))
    given = Contract("m", VERSION, signature, kinds, True, 60.0, 10, 1 << 20)
    transport.answer = lambda row: {"y": repr(row["who"])}
    with Client("m", "http://f", contract=given, transport=transport) as client:
        for trace, who in enumerate([1, 1.0, True, "1", None] * 2):
            assert client.predict(who=who, trace=trace) == {"y": repr(who)}
    assert len(transport.rows) == 5


def test_an_expired_answer_is_requested_again(transport: FakeTransport) -> None:
    options = Options(ttl_seconds=0.05)
    with Client("m", "http://f", transport=transport, options=options) as client:
        client.predict(word="a", x=1)
        threading.Event().wait(0.1)
        assert client.predict(word="a", x=1).tier == "model"


def test_answers_that_may_not_be_kept_are_always_requested(
    transport: FakeTransport,
) -> None:
    signature = Signature((Tensor("x", "float32", ()),), ())
    kinds = (Exact("float32", ""),)
    given = Contract("m", VERSION, signature, kinds, True, 0.0, 10, 1 << 20)
    with Client("m", "http://f", contract=given, transport=transport) as client:
        client.predict(x=1)
        client.predict(x=1)
        client.predict_batch({"x": [1, 1]})
    assert len(transport.rows) == 4


@pytest.mark.parametrize(
    "options", [Options(max_entries=50), Options(max_bytes=20_000)]
)
def test_the_cache_is_bounded(transport: FakeTransport, options: Options) -> None:
    with Client("m", "http://f", transport=transport, options=options) as client:
        for start in range(0, 1000, 100):
            client.predict_batch({"word": "a", "x": list(range(start, start + 100))})
        metrics = client.metrics()
        assert 20 <= metrics["entries"] <= 50
        assert metrics["bytes"] <= options.max_bytes
        assert client.predict(word="a", x=999).tier == "local"


def test_batches_are_split_at_the_limits(transport: FakeTransport) -> None:
    signature = Signature((Tensor("x", "string", ()),), ())
    kinds = (Exact("string", ""),)
    transport.answer = lambda row: {"y": row["x"]}
    given = Contract("m", VERSION, signature, kinds, True, 60.0, 30, 200)
    with Client("m", "http://f", contract=given, transport=transport) as client:
        words = [str(n) * (1 + n % 7) for n in range(100)]
        assert client.predict_batch({"x": words}) == [{"y": word} for word in words]
        assert all(len(request.body or b"") <= 200 for request in transport.requests)
        with pytest.raises(gomlx.TooLarge):
            client.predict(x="x" * 300)


def test_a_row_that_failed_is_not_requested_again_at_once(
    transport: FakeTransport,
) -> None:
    def fail(row: dict[str, Any]) -> dict[str, Any]:
        raise RunFailed("no such row")

    transport.answer = fail
    for seconds, requests in ((60, 1), (0.01, 3)):
        transport.rows.clear()
        options = replace(QUIET, negative_seconds=seconds)
        with Client("m", "http://f", transport=transport, options=options) as client:
            for _ in range(3):
                with pytest.raises(RunFailed, match="no such row"):
                    client.predict(word="a", x=1)
                threading.Event().wait(0.02)
        assert len(transport.rows) == requests


def test_metrics_count_calls_and_rows(client: Client) -> None:
    client.predict(word="a", x=1)
    client.predict(word="a", x=1)
    client.predict_batch({"word": "a", "x": [1, 2]})
    with pytest.raises(InvalidInput):
        client.predict(word="a")
    metrics = client.metrics()
    assert metrics["rows"] == {"local": 2, "server": 2}
    calls = {
        (o, t): c["count"] for o, ts in metrics["calls"].items() for t, c in ts.items()
    }
    assert calls[("ok", "local")] == 1
    assert calls[("ok", "server")] == 2
    assert calls[("InvalidInput", "server")] == 1
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(client.collector())
    text = generate_latest(registry).decode()
    assert 'gomlx_client_rows_total{model="m",tier="server"} 2.0' in text
    assert (
        'gomlx_client_call_seconds_count{model="m",outcome="ok",tier="server"}' in text
    )


def test_two_clients_in_one_registry(client: Client) -> None:
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=True)
    with Client("n", "http://f", transport=doubling(), options=QUIET) as other:
        registry.register(client.collector(other))
        client.predict(word="a", x=1)
        other.predict_batch({"word": "a", "x": [1, 2]})
        text = generate_latest(registry).decode()
    for model, rows in (("m", 1), ("n", 2)):
        line = f'gomlx_client_rows_total{{model="{model}",tier="server"}} {rows}.0'
        assert line in text
    assert text.count("# TYPE gomlx_client_rows_total") == 1


def test_a_bug_in_a_transport_is_not_hidden() -> None:
    class Broken(FakeTransport):
        async def send(self, request: Request) -> Response:
            if request.body:
                raise ZeroDivisionError
            return await super().send(request)

    fake = doubling()
    broken = Broken(fake.answer, fake.inputs)
    with Client("m", "http://f", transport=broken, options=QUIET) as client:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                client.predict(word="a", x=1)
