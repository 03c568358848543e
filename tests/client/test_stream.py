"""Rows of any number in, answers in their order out, of a real service."""

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
from gomlx.errors import InvalidInput, NoHost, RunFailed
from tests.client.fake import QUIET, Host, client, hosts, works
from tests.support.service import Service, wait_for


@pytest.fixture
def asking(flying: Service) -> Iterator[Client]:
    options = replace(QUIET, timeout_seconds=60)
    with Client("scale", flying.url, options=options) as client:
        yield client


class Counting:
    """Rows without an end, {"x": 0}, {"x": 1}, …, in one dict again and again."""

    def __init__(self) -> None:
        self.count = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        row: dict[str, Any] = {}
        for n in itertools.count():
            self.count, row["x"] = n + 1, n
            yield row


@pytest.mark.parametrize("window", [1, 3, 64, 5000])
def test_answers_have_the_order_of_the_rows(asking: Client, window: int) -> None:
    xs = [(n * 7) % 500 + window for n in range(1500)]
    answers = list(asking.stream([{"x": x} for x in xs], window=window))
    assert [answer["y"] for answer in answers] == [2 * x for x in xs]
    assert {answer.version for answer in answers} == {asking.version}


def test_only_what_is_not_known_travels(asking: Client) -> None:
    asking.predict_batch({"x": [*range(0, 300, 2)]})
    before = asking.metrics()["rows"]["server"]
    answers = list(asking.stream({"x": n} for n in range(300)))
    assert [answer["y"] for answer in answers] == [2 * n for n in range(300)]
    assert [answer.tier == "local" for answer in answers] == [True, False] * 150
    assert asking.metrics()["rows"]["server"] - before == 150
    again = list(asking.stream({"x": n} for n in range(300)))
    assert {answer.tier for answer in again} == {"local"}


def test_rows_without_an_end_are_read_as_answers_are_taken(asking: Client) -> None:
    rows, window = Counting(), 100
    with_known = asking.stream(rows, window=window)
    for n, answer in enumerate(itertools.islice(with_known, 5000)):
        assert answer["y"] == 2 * n
        assert n < rows.count <= n + window
    with_known.close()
    assert asking.predict(x=7)["y"] == 14


def test_a_window_of_one_row_waits_for_its_answer(asking: Client) -> None:
    last = {"y": 1.5}
    rows = ({"x": last["y"]} for _ in range(8))
    for last in asking.stream(rows, window=1):  # noqa: B007  # rows look at it
        pass
    assert last["y"] == 1.5 * 2**8


def test_nothing_is_an_answer_to_nothing(asking: Client) -> None:
    assert list(asking.stream([])) == []
    assert list(asking.stream(iter(()))) == []


BAD: list[Any] = [{"x": "one"}, {"z": 1}, 7, {"x": None}]


def test_a_bad_row_has_its_error_in_its_place(asking: Client) -> None:
    rows = [{"x": n} for n in range(200)]
    for place, bad in zip((0, 50, 51, 199), BAD, strict=True):
        rows[place] = bad
    found = list(asking.stream(rows, errors="return"))
    for n, one in enumerate(found):
        if n in (0, 50, 51, 199):
            assert isinstance(one, InvalidInput)
        else:
            assert one == {"y": 2 * n}
    assert len(found) == 200
    stream = asking.stream(rows[1:])
    assert [next(stream)["y"] for _ in range(49)] == [2 * n for n in range(1, 50)]
    with pytest.raises(InvalidInput, match="'z'"):
        next(stream)
    assert list(stream) == []


def test_a_row_that_the_model_refuses_spoils_no_other(flying: Service) -> None:
    xs = [n % 3 for n in range(60)]
    xs[20] = xs[41] = 3
    with Client("pick", flying.url, options=QUIET) as asking:
        found = list(asking.stream([{"x": x} for x in xs], errors="return"))
    for x, one in zip(xs, found, strict=True):
        assert isinstance(one, RunFailed if x == 3 else Answer)


def test_an_error_of_the_rows_comes_after_their_answers(asking: Client) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield from ({"x": n} for n in range(30))
        raise LookupError("no more")

    taken = []
    with pytest.raises(LookupError, match="no more"):
        for answer in asking.stream(rows()):
            taken.append(answer["y"])  # noqa: PERF401  # what came before the error
    assert taken == [2 * n for n in range(30)]


def test_what_cannot_be_chosen(asking: Client) -> None:
    with pytest.raises(ValueError, match="window"):
        asking.stream([], window=0)
    with pytest.raises(ValueError, match="errors"):
        asking.stream([], errors="ignore")  # type: ignore[call-overload]


def test_progress_is_shown(asking: Client, capfd: pytest.CaptureFixture[str]) -> None:
    assert len(list(asking.stream([{"x": 1}] * 50, progress=True))) == 50
    out, shown = capfd.readouterr()
    assert "50/50" in shown
    assert not out


def test_a_worker_that_is_killed_in_the_middle(asking: Client, flying: Service) -> None:
    (worker,) = flying.worker_pids()
    assert asking._core.connection
    (host,) = asking._core.connection._sender._hosts.all

    def kill() -> None:
        wait_for(lambda: host.outstanding)  # rows that the worker will never answer
        os.kill(worker, signal.SIGKILL)

    with ThreadPoolExecutor(1) as pool:
        for n, answer in enumerate(asking.stream({"x": n / 8} for n in range(9000))):
            assert answer["y"] == n / 4
            if n == 1000:
                os.kill(worker, signal.SIGSTOP)
                killing = pool.submit(kill)
        killing.result()
    assert n == 8999
    assert asking.metrics()["requests"]["retried"] > 0


@pytest.mark.asyncio
async def test_a_host_that_goes_away_in_the_middle(stack: AsyncExitStack) -> None:
    """Batches go to both hosts, until one ends with some of them under way."""
    (second,) = await hosts(stack, works)
    async with Host(works).running() as first:
        asking = await client(stack, [first, second])
        stream = asking.stream({"x": n} for n in range(20_000))
        found = [await anext(stream) for _ in range(5000)]
    found += [answer async for answer in stream]
    assert [answer["y"] for answer in found] == [2 * n for n in range(20_000)]
    assert first.bodies
    assert second.bodies


@pytest.mark.asyncio
async def test_when_no_host_is_left(stack: AsyncExitStack) -> None:
    """It is no row's fault, so it is raised even if errors are to be returned."""
    async with Host(works).running() as host:
        asking = await client(stack, [host])
        stream = asking.stream(Counting(), window=8, errors="return")
        assert await anext(stream) == {"y": 0}
    with pytest.raises(NoHost):
        async for _ in stream:
            pass


@pytest.mark.asyncio
async def test_asynchronous_rows(flying: Service) -> None:
    async with AsyncClient("scale", flying.url, options=QUIET) as asking:
        answered = asyncio.Event()

        async def rows() -> AsyncIterator[dict[str, Any]]:
            for n in range(20):  # each is made once the last one is answered
                yield {"x": n + 0.25}
                await answered.wait()
                answered.clear()

        found = []
        async for answer in asking.stream(rows()):
            found.append(answer["y"])
            answered.set()
        assert found == [2 * n + 0.5 for n in range(20)]
        both = [asking.stream([{"x": n * k} for n in range(999)]) for k in (3, 5)]
        lists = await asyncio.gather(*map(_listed, both))
        assert lists == [[2 * n * k for n in range(999)] for k in (3, 5)]


async def _listed(stream: AsyncIterator[Any]) -> list[float]:
    return [answer["y"] async for answer in stream]


@pytest.mark.asyncio
async def test_asynchronously_nothing_is_left_of_who_leaves(flying: Service) -> None:
    async with AsyncClient("scale", flying.url, options=QUIET) as asking:
        before = asyncio.all_tasks()
        rows = Counting()
        stream = asking.stream(rows, window=50)
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
        task = asyncio.create_task(_listed(asking.stream(endless())))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await ended.wait()
        async with asyncio.timeout(60):
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.01)
