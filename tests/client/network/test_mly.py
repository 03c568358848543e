"""The client of an mly server: the same calls, the same guarantees."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from gomlx import (
    AsyncClient,
    BadResponse,
    DeadlineExceeded,
    GomlxError,
    InvalidInput,
    ModelNotFound,
    NoHost,
    RunFailed,
)
from tests.client.fake import QUIET, http
from tests.client.h2 import Http2
from tests.client.mly import BUFFER, MlyHost

pytestmark = pytest.mark.asyncio
NO_ANSWER = (BadResponse, DeadlineExceeded, NoHost)
ROW = {"word": "a", "n": 3, "price": 1.5, "x": 0.25, "place": "here"}


class Http2MlyHost(Http2, MlyHost):
    """mly with HTTP/2, by prior knowledge."""


@pytest_asyncio.fixture(params=[MlyHost, Http2MlyHost])
async def host(request: pytest.FixtureRequest) -> AsyncIterator[MlyHost]:
    made: MlyHost = request.param()
    async with made.running():
        yield made


def of(host: MlyHost, model: str = "m", **options: Any) -> AsyncClient:
    """A client with the host's version of HTTP."""
    is_http2 = isinstance(host, Http2)
    return AsyncClient(
        model, host.url, options=replace(QUIET, http2=is_http2, **options)
    )


@pytest_asyncio.fixture
async def client(stack: AsyncExitStack, host: MlyHost) -> AsyncClient:
    return await stack.enter_async_context(of(host))


async def test_one_row_and_a_batch(client: AsyncClient, host: MlyHost) -> None:
    answer = await client.predict(ROW)
    assert answer == {"word": "a", "y": 3001.75, "place": "here"}
    assert (answer.cached, answer.version) == (False, "mly -77")
    assert (await client.predict(ROW)).tier == "local"
    answers = await client.predict_batch({**ROW, "n": [3, 5, 0]})
    assert [a["y"] for a in answers] == [3001.75, 5001.75, 1.75]
    assert [a.tier for a in answers] == ["local", "server", "server"]
    assert host.bodies[-1].startswith(b'{"batch_size":2,')
    assert host.requests[-1] == {
        "batch_size": 2,
        **{"word": ["a"], "n": [5, 0], "price": [1.5], "x": [0.25], "place": ["here"]},
    }


async def test_rows_that_share_an_answer(client: AsyncClient, host: MlyHost) -> None:
    """Unknown words, unknown numbers, and floats that round alike; no others."""
    first = await client.predict({**ROW, "word": "zz", "n": 7, "price": 1.501})
    for same in ({"word": "yy"}, {"n": 8}, {"price": 1.499}):
        row = {**ROW, "word": "zz", "n": 7, "price": 1.501, **same}
        assert await client.predict(row) == first
    assert len(host.requests) == 1
    assert host.requests[0]["price"] == [
        1.5
    ]  # the row that is sent is the one that is kept
    for other in ({"n": 0}, {"word": ""}, {"x": 0.26}, {"place": "there"}):
        await client.predict({**ROW, "word": "zz", "n": 7, **other})
    assert len(host.requests) == 5


async def test_a_word_that_marks_unknown_ones_may_be_known(host: MlyHost) -> None:
    """Then it has an answer of its own, and so have the marks tried instead."""
    words = ["[UNK]", "[UNK1]", "[UNK2]", "zz"]
    names = [*words[:3], "a"]
    layer = {"Name": "word", "Strings": names, "Ints": None, "Hash": 2}
    for known in ([], [layer]):
        host.requests.clear()
        host.dictionary = {"Layers": known, "Hash": -77}
        async with of(host) as client:
            for word in (*words, *words):
                assert (await client.predict({**ROW, "word": word}))["word"] == word
            assert len(host.requests) == 4
            yy = await client.predict({**ROW, "word": "yy"})
            assert yy["word"] == ("zz" if known else "yy")


async def test_numbers_and_auxiliaries_as_mly_reads_them(
    client: AsyncClient, host: MlyHost
) -> None:
    for x in (1e-7, -2.5e-12, 3e17, 1e300, 5e-324):
        assert (await client.predict({**ROW, "n": 0, "x": x}))["y"] == 1.5 + x
    await client.predict_batch({**ROW, "place": ["a", 1, 2.5, True, None]})
    assert host.requests[-1]["place"] == ["a", "1", "2.5", "true", "null"]
    await client.predict({**ROW, "place": 'quo"te\n'})
    assert host.requests[-1]["place"] == ['quo"te\n']


async def test_bodies_fit_its_buffer(client: AsyncClient, host: MlyHost) -> None:
    places = [f"{n:0500}" for n in range(700)]
    answers = await client.predict_batch({**ROW, "place": places})
    assert [answer["place"] for answer in answers] == places
    assert len(host.bodies) > 2 and max(map(len, host.bodies)) < BUFFER


async def test_without_a_dictionary(stack: AsyncExitStack, host: MlyHost) -> None:
    """null, and no dictHash in responses: each word is its own row."""
    host.dictionary = None
    host.dict_hash = 0
    client = await stack.enter_async_context(of(host))
    for word in ("zz", "yy", "zz"):
        assert (await client.predict({**ROW, "word": word}))["word"] == word
    assert (len(host.requests), client.version) == (2, "mly 0")
    host.config = {**host.config, "ID": ""}  # no datastore: nothing may be kept
    other = await stack.enter_async_context(of(host))
    for _ in range(2):
        await other.predict(ROW)
    assert len(host.requests) == 4


@pytest.mark.parametrize(
    ("response", "error", "text"),
    [
        (http(b"wrong type\n{}", "400 Bad Request"), InvalidInput, "^wrong type$"),
        (http(b"TF says no\n", "500 Error"), RunFailed, "^TF says no$"),
        (http(b'{"status":"ok","data":{"y":NaN}}'), NO_ANSWER, "."),
        (http(b'{"status":"ok"}'), NO_ANSWER, "."),
        (None, NO_ANSWER, "."),
    ],
)
async def test_faults(
    client: AsyncClient, host: MlyHost, response: Any, error: Any, text: str
) -> None:
    host.next_responses = [response] * 100
    with pytest.raises(error, match=text):
        await client.predict(ROW, timeout_seconds=0.5 if error is NO_ANSWER else 30)
    host.next_responses = []
    other = {**ROW, "n": 0}
    for _ in range(50):  # the host is given time to recover
        try:
            assert (await client.predict(other, timeout_seconds=2))["y"] == 1.75
            break
        except GomlxError:
            await asyncio.sleep(0.1)
    else:
        raise AssertionError("the host was never tried again")


async def test_busy_servers_are_retried(client: AsyncClient, host: MlyHost) -> None:
    """No slot in time, overloaded, a dropped connection: the row is sent again."""
    host.next_responses = [
        http(b"context deadline exceeded\n", "500 Error"),
        http(b"overloaded\n", "429 Too Many Requests"),
        None,
    ]
    assert (await client.predict(ROW, timeout_seconds=30))["y"] == 3001.75


async def test_a_new_dictionary(stack: AsyncExitStack, host: MlyHost) -> None:
    client = await stack.enter_async_context(of(host, refresh_seconds=0.05))
    before = await client.predict({**ROW, "word": "new"})
    layers = [{"Name": "word", "Strings": ["new"], "Ints": None, "Hash": 9}]
    host.dictionary = {"Layers": layers, "Hash": 5}
    host.dict_hash = 5
    async with asyncio.timeout(30):
        while client.version != "mly 5":
            await asyncio.sleep(0.02)
    after = await client.predict({**ROW, "word": "new"})
    assert (before.version, after.version, after.cached) == ("mly -77", "mly 5", False)
    count = len(host.requests)
    await client.predict({**ROW, "word": "newer"})
    assert len(host.requests) == count + 1


async def test_a_model_that_is_not_there(host: MlyHost) -> None:
    client = of(host, "other")
    with pytest.raises(ModelNotFound, match="404 page not found"):
        await client.predict(ROW)
    await client.close()
