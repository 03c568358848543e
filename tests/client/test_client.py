"""What a client gives back, from where, and what it asks for: over a fake service."""

import asyncio
import itertools
import math
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

import gomlx
from gomlx import AsyncClient, Client, FakeTransport
from gomlx.client.options import Options
from gomlx.contract.canonical import Auxiliary, Exact
from gomlx.contract.document import Contract
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import ANY, Tensor
from gomlx.errors import InvalidInput, RunFailed
from tests.client.fake import QUIET, VERSION, doubling


@pytest.fixture
def transport() -> FakeTransport:
    return doubling()


@pytest.fixture
def client(transport: FakeTransport) -> Iterator[Client]:
    with Client("m", "http://fake", transport=transport, options=QUIET) as client:
        yield client


def test_a_row_is_asked_once(client: Client, transport: FakeTransport) -> None:
    first = client.predict(word="a", x=1.5)
    again = client.predict({"x": 1.5, "word": "a"})
    assert first == again == {"y": 3.0}
    assert (first.tier, first.cached, first.version) == ("model", False, VERSION)
    assert (again.tier, again.cached, again.version) == ("local", True, VERSION)
    assert 0 < again.seconds < first.seconds
    assert transport.rows == [{"word": "a", "x": 1.5}]


def test_an_answer_is_the_callers_own(transport: FakeTransport) -> None:
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
            asked = [row["x"] for row in transport.rows]
            assert asked == [i for i in range(size) if not known[i]]
            for i in range(size):  # nothing is kept under another row
                one = client.predict(word="w", x=i)
                assert (one["y"], one.tier) == (i * 2, "local")


@pytest.mark.parametrize(
    "columns",
    [
        {"word": ["a", "b"], "x": (1, 2.5)},
        {"word": np.array(["a", "b"]), "x": np.array([1, 2.5], np.float32)},
        {"word": np.array(["a", "b"], object), "x": np.array([1, 2.5], object)},
        pd.DataFrame({"word": ["a", "b"], "x": [1, 2.5]}),
        {"word": pd.Series(["a", "b"]), "x": iter([1, 2.5])},
        [{"word": "a", "x": 1}, {"x": np.float64(2.5), "word": np.str_("b")}],
        {"word": [b"a", b"b"], "x": [np.float32(1), np.int8(2) + 0.5]},
    ],
    ids=["lists", "arrays", "objects", "frame", "series", "rows", "scalars"],
)
def test_columns_come_in_many_forms(
    client: Client, transport: FakeTransport, columns: Any
) -> None:
    assert client.predict_batch(columns) == [{"y": 2}, {"y": 5}]
    assert client.predict_batch({"word": ["a", "b"], "x": [1.0, 2.5]}) == [
        *({"y": 2}, {"y": 5})
    ]
    assert len(transport.rows) == 2


def test_a_column_of_one_stands_for_all(
    client: Client, transport: FakeTransport
) -> None:
    assert client.predict_batch({"word": "a", "x": [1, 2]}) == [{"y": 2}, {"y": 4}]
    assert client.predict_batch({"word": ["a", "b"], "x": np.array([3.0])}) == [
        *({"y": 6}, {"y": 6})
    ]
    assert b'"word":["a"]' in (transport.requests[1].body or b"")
    assert client.predict_batch({"word": "a", "x": 7}) == [{"y": 14}]
    nothing: Any
    for nothing in ([], {}, {"word": [], "x": []}, {"word": "a", "x": []}):
        assert client.predict_batch(nothing) == []


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"word": "a", "x": [1, True]}, "'x', row 1"),
        ({"word": "a", "x": [1, math.nan]}, "'x', row 1"),
        ({"word": ["a", "b"], "x": [1, 2, 3]}, "one length"),
        ({"word": "a"}, "missing"),
        ({"word": "a", "x": [1, 2], "more": 1}, "'more'"),
        ({"word": None, "x": 1}, "'word'"),
        ([{"word": "a"}, {"x": 1}], "row 1"),
        ("word", "expected columns"),
    ],
)
def test_what_does_not_fit_is_refused_here(
    client: Client, transport: FakeTransport, columns: Any, message: str
) -> None:
    client.predict_batch({"word": "a", "x": [1, 2]})  # which equals True
    asked = len(transport.rows)
    with pytest.raises(InvalidInput, match=message):
        client.predict_batch(columns)
    assert len(transport.rows) == asked


@pytest.mark.parametrize("wrong", [True, "1", None, math.inf, [1, 2], 1j])
def test_a_row_is_no_hit_because_it_is_equal(client: Client, wrong: Any) -> None:
    client.predict(word="a", x=1)
    with pytest.raises(InvalidInput, match="'x'"):
        client.predict(word="a", x=wrong)
    with pytest.raises(InvalidInput, match="expected a row"):
        client.predict([1])  # type: ignore[arg-type]


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


def test_auxiliary_inputs_that_are_equal_differ(transport: FakeTransport) -> None:
    """1, 1.0 and True are one key of a dict, but three questions."""
    signature = Signature((), (), (Tensor("who", ANY, ()), Tensor("trace", ANY, ())))
    kinds = (Auxiliary(True, ""), Auxiliary(False, ""))
    given = Contract("m", VERSION, signature, kinds, True, 60.0, 10, 1 << 20)
    transport.answer = lambda row: {"y": repr(row["who"])}
    with Client("m", "http://f", contract=given, transport=transport) as client:
        for trace, who in enumerate([1, 1.0, True, "1", None] * 2):
            assert client.predict(who=who, trace=trace) == {"y": repr(who)}
    assert len(transport.rows) == 5


def test_blocks_are_rows_too(transport: FakeTransport) -> None:
    signature = Signature((Tensor("v", "float32", (None,)),), ())
    kinds = (Exact("float32", ""),)
    given = Contract("m", VERSION, signature, kinds, True, 60.0, 10, 1 << 20)
    transport.answer = lambda row: {"y": len(row["v"])}
    with Client("m", "http://f", contract=given, transport=transport) as client:
        for value in ([1, 2], np.array([1.0, 2.0]), (1, 2.0)):
            assert client.predict(v=value) == {"y": 2}
        assert client.predict_batch({"v": [[1.0, 2], [1]]}) == [{"y": 2}, {"y": 1}]
    assert len(transport.rows) == 2


def test_values_that_json_has_no_word_for(transport: FakeTransport) -> None:
    outputs = (Tensor("f", "float32", (2,)), Tensor("s", "string", ()))
    signature = Signature((Tensor("x", "int64", ()),), outputs)
    kinds = (Exact("int64", ""),)
    given = Contract("m", VERSION, signature, kinds, False, 60.0, 10, 1 << 20)
    transport.answer = lambda row: {"f": ["NaN", "-Infinity"], "s": {"b64": "/w=="}}
    with Client("m", "http://f", contract=given, transport=transport) as client:
        for _ in range(2):
            answer = client.predict(x=2**63 - 1)
            assert math.isnan(answer["f"][0])
            assert answer["f"][1] == -math.inf
            assert answer["s"] == b"\xff"


def test_what_is_old_is_asked_again(transport: FakeTransport) -> None:
    options = Options(ttl_seconds=0.05)
    with Client("m", "http://f", transport=transport, options=options) as client:
        client.predict(word="a", x=1)
        threading.Event().wait(0.1)
        assert client.predict(word="a", x=1).tier == "model"


def test_models_that_may_not_be_kept_are_always_asked(
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
        told = client.metrics()
        assert 20 <= told["entries"] <= 50
        assert told["bytes"] <= options.max_bytes
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


def test_a_row_that_failed_is_not_asked_again_at_once(
    transport: FakeTransport,
) -> None:
    def fail(row: dict[str, Any]) -> dict[str, Any]:
        raise RunFailed("no such row")

    transport.answer = fail
    for seconds, asked in ((60, 1), (0.01, 3)):
        transport.rows.clear()
        options = replace(QUIET, negative_seconds=seconds)
        with Client("m", "http://f", transport=transport, options=options) as client:
            for _ in range(3):
                with pytest.raises(RunFailed, match="no such row"):
                    client.predict(word="a", x=1)
                threading.Event().wait(0.02)
        assert len(transport.rows) == asked


def test_threads_share_one_question(transport: FakeTransport) -> None:
    with Client("m", "http://f", transport=transport, options=QUIET) as client:
        barrier, answers = threading.Barrier(20), []

        def ask() -> None:
            barrier.wait()
            answers.extend(client.predict_batch({"word": "a", "x": list(range(50))}))

        threads = [threading.Thread(target=ask) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [a["y"] for a in answers] == [x * 2 for x in range(50)] * 20
    assert len(transport.rows) == 50


def test_a_forked_client_opens_its_own_connections(client: Client) -> None:
    client.predict(word="a", x=1)
    child = os.fork()
    if not child:
        code = 1
        try:  # in the child: nothing of pytest may run here
            known, new = client.predict(word="a", x=1), client.predict(word="b", x=2)
            code = 0 if (known.tier, new) == ("local", {"y": 4}) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert client.predict(word="c", x=3) == {"y": 6}


def test_counts_are_told(client: Client) -> None:
    client.predict(word="a", x=1)
    client.predict(word="a", x=1)
    client.predict_batch({"word": "a", "x": [1, 2]})
    with pytest.raises(InvalidInput):
        client.predict(word="a")
    told = client.metrics()
    assert told["rows"] == {"local": 2, "server": 2}
    calls = {
        (o, t): c["count"] for o, ts in told["calls"].items() for t, c in ts.items()
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


@pytest.mark.asyncio
async def test_inside_a_running_loop(transport: FakeTransport) -> None:
    async with AsyncClient("m", "http://f", transport=transport) as client:
        answers = await asyncio.gather(
            *(client.predict(word="a", x=n % 100) for n in range(1000))
        )
        assert [a["y"] for a in answers] == [n % 100 * 2 for n in range(1000)]
        assert len(transport.rows) == 100
        batch = await client.predict_batch({"word": "a", "x": [1, 1000]})
        assert [a.tier for a in batch] == ["local", "model"]
    assert transport.is_closed
    with Client("m", "http://f", transport=doubling()) as blocking:  # in a notebook
        assert blocking.predict(word="a", x=1) == {"y": 2}


@pytest.mark.asyncio
async def test_who_leaves_ends_what_nobody_else_waits_for() -> None:
    transport = doubling()
    asked, ended, go = asyncio.Event(), asyncio.Event(), asyncio.Event()
    send = transport.send

    async def slow(request: Any) -> Any:
        if request.body:
            asked.set()
            try:
                await go.wait()
            except asyncio.CancelledError:
                ended.set()
                raise
        return await send(request)

    transport.send = slow  # type: ignore[method-assign]  # an instance's own
    async with AsyncClient("m", "http://f", transport=transport) as client:
        first = asyncio.create_task(client.predict(word="a", x=1))
        second = asyncio.create_task(client.predict(word="a", x=1))
        await asked.wait()
        first.cancel()
        await asyncio.wait([first])
        assert not ended.is_set()
        go.set()
        assert await second == {"y": 2}
        go.clear()
        alone = asyncio.create_task(client.predict(word="a", x=3))
        await asyncio.sleep(0)
        asked.clear()
        await asked.wait()
        alone.cancel()
        await asyncio.wait_for(ended.wait(), 5)


def test_names_are_there_lazily() -> None:
    assert {"Client", "AsyncClient", "FakeTransport"} <= set(gomlx.__all__)
    for name in gomlx.__all__:
        assert getattr(gomlx, name)
    with pytest.raises(AttributeError, match="nothing"):
        gomlx.nothing  # noqa: B018  # asking is the test


def test_half_a_character_is_refused_at_once() -> None:
    with Client("m", "http://x", transport=doubling(), options=QUIET) as client:
        for _ in range(2):
            with pytest.raises(InvalidInput, match="'word'"):
                client.predict(word="\udc80", x=1.0)
        with pytest.raises(InvalidInput, match="'word'"):
            client.predict_batch({"word": ["a", "\udc80"], "x": 1.0})
