"""Streams of a real service: any number of rows in, answers in their order out."""

import asyncio
import itertools
import os
import signal
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest

from gomlx import Answer, AsyncClient, Client
from gomlx.client.network.transport import Request, Response
from gomlx.client.transports.http import HttpTransport
from gomlx.errors import InvalidInput, NoHost, RunFailed
from tests.client.fake import QUIET, Host, connected, hosts, works
from tests.support.service import Service, wait_for


@pytest.fixture
def client(flying: Service) -> Iterator[Client]:
    options = replace(QUIET, timeout_seconds=60)
    with Client("scale", flying.url, options=options) as client:
        yield client


class Counting:
    """Endless rows, {"x": 0}, {"x": 1}, …, in one dict again and again."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        row: dict[str, Any] = {}
        for n in itertools.count():
            self.count = n + 1
            row["x"] = n
            yield row


@pytest.mark.parametrize("window", [1, 3, 64, 5000])
def test_answers_have_the_order_of_the_rows(client: Client, window: int) -> None:
    xs = [(n * 7) % 500 + window for n in range(1500)]
    answers = list(client.stream([{"x": x} for x in xs], window=window))
    assert [answer["y"] for answer in answers] == [2 * x for x in xs]
    assert {answer.version for answer in answers} == {client.version}


def test_only_unknown_rows_are_requested(client: Client) -> None:
    client.predict_batch({"x": [*range(0, 300, 2)]})
    before = client.metrics()["rows"]["server"]
    answers = list(client.stream({"x": n} for n in range(300)))
    assert [answer["y"] for answer in answers] == [2 * n for n in range(300)]
    assert [answer.tier == "local" for answer in answers] == [True, False] * 150
    assert client.metrics()["rows"]["server"] - before == 150
    again = list(client.stream({"x": n} for n in range(300)))
    assert {answer.tier for answer in again} == {"local"}


def test_endless_rows_are_read_as_answers_are_consumed(client: Client) -> None:
    rows = Counting()
    window = 100
    stream = client.stream(rows, window=window)
    for n, answer in enumerate(itertools.islice(stream, 5000)):
        assert answer["y"] == 2 * n
        assert n < rows.count <= n + window
    stream.close()
    assert client.predict(x=7)["y"] == 14


def test_a_window_of_one_row_waits_for_its_answer(client: Client) -> None:
    last = {"y": 1.5}
    rows = ({"x": last["y"]} for _ in range(8))
    for last in client.stream(rows, window=1):  # noqa: B007  # rows look at it
        pass
    assert last["y"] == 1.5 * 2**8


def test_no_rows_have_no_answers(client: Client) -> None:
    assert list(client.stream([])) == []
    assert list(client.stream(iter(()))) == []


BAD: list[Any] = [{"x": "one"}, {"z": 1}, 7, {"x": None}]


def test_a_bad_row_has_its_error_in_its_place(client: Client) -> None:
    rows = [{"x": n} for n in range(200)]
    for place, bad in zip((0, 50, 51, 199), BAD, strict=True):
        rows[place] = bad
    found = list(client.stream(rows, errors="return"))
    for n, one in enumerate(found):
        if n in (0, 50, 51, 199):
            assert isinstance(one, InvalidInput)
        else:
            assert one == {"y": 2 * n}
    assert len(found) == 200
    stream = client.stream(rows[1:])
    assert [next(stream)["y"] for _ in range(49)] == [2 * n for n in range(1, 50)]
    with pytest.raises(InvalidInput, match="'z'"):
        next(stream)
    assert list(stream) == []


def test_a_row_that_the_model_refuses_fails_no_other(flying: Service) -> None:
    xs = [n % 3 for n in range(60)]
    xs[20] = xs[41] = 3
    with Client("pick", flying.url, options=QUIET) as client:
        found = list(client.stream([{"x": x} for x in xs], errors="return"))
    for x, one in zip(xs, found, strict=True):
        assert isinstance(one, RunFailed if x == 3 else Answer)


def test_an_error_of_the_iterator_follows_the_answers(client: Client) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"x": n} for n in range(30))
        raise LookupError("no more")

    values = []
    with pytest.raises(LookupError, match="no more"):
        for answer in client.stream(rows()):
            values.append(answer["y"])  # noqa: PERF401  # what came before the error
    assert values == [2 * n for n in range(30)]


def test_invalid_stream_options(client: Client) -> None:
    with pytest.raises(ValueError, match="window"):
        client.stream([], window=0)
    with pytest.raises(ValueError, match="errors"):
        client.stream([], errors="ignore")  # type: ignore[call-overload]


def test_progress_is_shown(client: Client, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(client.stream([{"x": 1}] * 50, progress=True))) == 50
    out, shown = capfd.readouterr()
    assert "50/50" in shown
    assert not out


class CountingTransport(HttpTransport):
    """HTTP/1.1 that counts the requests under way."""

    under_way = 0

    async def send(self, request: Request) -> Response:
        self.under_way += 1
        try:
            return await super().send(request)
        finally:
            self.under_way -= 1


def test_a_worker_that_is_killed_during_a_stream(flying: Service) -> None:
    (worker,) = flying.worker_pids()
    options = replace(QUIET, timeout_seconds=60)
    transport = CountingTransport(options)

    def kill() -> None:
        # Until there are rows that the worker will never answer.
        wait_for(lambda: transport.under_way)
        os.kill(worker, signal.SIGKILL)

    with (
        Client("scale", flying.url, transport=transport, options=options) as client,
        ThreadPoolExecutor(1) as pool,
    ):
        for n, answer in enumerate(client.stream({"x": n / 8} for n in range(9000))):
            assert answer["y"] == n / 4
            if n == 1000:
                os.kill(worker, signal.SIGSTOP)
                killing = pool.submit(kill)
        killing.result()
        assert n == 8999
        assert client.metrics()["requests"]["retried"] > 0


@pytest.mark.asyncio
async def test_a_host_that_goes_away_during_a_stream(stack: AsyncExitStack) -> None:
    """Batches go to both hosts, until one ends with some of them under way."""
    (second,) = await hosts(stack, works)
    async with Host(works).running() as first:
        client = await connected(stack, [first, second])
        stream = client.stream({"x": n} for n in range(20_000))
        found = [await anext(stream) for _ in range(5000)]
    found += [answer async for answer in stream]
    assert [answer["y"] for answer in found] == [2 * n for n in range(20_000)]
    assert first.bodies
    assert second.bodies


@pytest.mark.asyncio
async def test_a_stream_without_a_host_raises(stack: AsyncExitStack) -> None:
    """The error is no row's, so it is raised even if errors are to be returned."""
    async with Host(works).running() as host:
        client = await connected(stack, [host])
        stream = client.stream(Counting(), window=8, errors="return")
        assert await anext(stream) == {"y": 0}
    with pytest.raises(NoHost):
        async for _ in stream:
            pass


@pytest.mark.asyncio
async def test_asynchronous_rows(flying: Service) -> None:
    async with AsyncClient("scale", flying.url, options=QUIET) as client:
        answered = asyncio.Event()

        async def rows() -> AsyncIterator[dict[str, Any]]:
            for n in range(20):  # each is made after the answer of the last one
                yield {"x": n + 0.25}
                await answered.wait()
                answered.clear()

        found = []
        async for answer in client.stream(rows()):
            found.append(answer["y"])
            answered.set()
        assert found == [2 * n + 0.5 for n in range(20)]
        both = [client.stream([{"x": n * k} for n in range(999)]) for k in (3, 5)]
        lists = await asyncio.gather(*map(_listed, both))
        assert lists == [[2 * n * k for n in range(999)] for k in (3, 5)]


async def _listed(stream: AsyncIterator[Any]) -> list[float]:
    return [answer["y"] async for answer in stream]


@pytest.mark.asyncio
async def test_an_abandoned_stream_leaves_no_task(flying: Service) -> None:
    async with AsyncClient("scale", flying.url, options=QUIET) as client:
        before = asyncio.all_tasks()
        rows = Counting()
        stream = client.stream(rows, window=50)
        assert [(await anext(stream))["y"] for _ in range(9)] == [*range(0, 18, 2)]
        assert rows.count <= 9 + 50
        await stream.aclose()

        async def endless() -> AsyncIterator[dict[str, Any]]:
            try:
                yield {"x": 1}
                await asyncio.Event().wait()
            finally:
                ended.set()

        ended = asyncio.Event()
        task = asyncio.create_task(_listed(client.stream(endless())))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await ended.wait()
        async with asyncio.timeout(60):
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.01)
