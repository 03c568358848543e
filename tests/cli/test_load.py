"""The load of `gomlx bench`, over a service that is a function."""

from collections.abc import Iterator
from itertools import count

import pytest

from gomlx import Answer, AsyncClient
from gomlx.cli.load import LoadResult, apply_load
from gomlx.cli.sample_rows import ValueColumns
from gomlx.errors import GomlxError, InvalidInput, Overloaded
from tests.client.fake import QUIET, doubling


def batches(rows: int, distinct: int) -> Iterator[ValueColumns]:
    for n in count():
        values = [float((n * rows + i) % distinct) for i in range(rows)]
        yield {"word": ["a"] * rows, "x": values}


async def answers_of(*batches: ValueColumns) -> list[list[Answer]]:
    client = AsyncClient("m", "http://m", transport=doubling(), options=QUIET)
    async with client:
        return [await client.predict_batch(columns) for columns in batches]


@pytest.mark.asyncio
async def test_calls_count_by_their_furthest_tier() -> None:
    one: ValueColumns = {"word": ["a"], "x": [1.0]}
    both: ValueColumns = {"word": ["a", "a"], "x": [1.0, 2.0]}
    result = LoadResult()
    for answers, seconds in zip(
        await answers_of(one, one, both), (0.5, 0.001, 0.25), strict=True
    ):
        result.add(answers, seconds)
    result.seconds = 2.0
    figures = result.as_dict()
    assert figures["calls"] == 3
    assert figures["calls_per_second"] == 1.5
    assert figures["rows"] == 4
    assert figures["rows_by_tier"]["local"] == 2
    far = next(tier for tier in result.tiers if tier != "local")
    assert list(result.tiers) == ["local", far]
    assert figures["latency"]["local"]["calls"] == 1
    assert figures["latency"][far] == {
        "calls": 2,
        "p50": pytest.approx(0.25, rel=0.02),
        "p99": pytest.approx(0.5, rel=0.02),
        "max": 0.5,
    }


def test_a_load_without_answers_has_figures() -> None:
    result = LoadResult()
    result.add_failure(Overloaded("m", 3))
    result.seconds = 1.0
    figures = result.as_dict()
    assert (figures["calls"], figures["hit_ratio"], figures["failed"]) == (0, 0.0, 1)
    result.print_tables()


@pytest.mark.asyncio
async def test_a_load_runs_so_many_calls_at_once() -> None:
    running = 0
    most = 0

    async def predict(columns: ValueColumns) -> list[Answer]:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            return await client.predict_batch(columns)
        finally:
            running -= 1

    client = AsyncClient("m", "http://m", transport=doubling(), options=QUIET)
    async with client:
        result = await apply_load(predict, batches(4, 1000), 0.2, 3)
    assert most == 3
    assert result.seconds >= 0.2
    figures = result.as_dict()
    assert figures["rows"] == 4 * figures["calls"] > 0


@pytest.mark.asyncio
async def test_failures_are_counted_by_message() -> None:
    async def predict(columns: ValueColumns) -> list[Answer]:
        raise Overloaded("m", 3)

    result = await apply_load(predict, batches(1, 10), 0.1, 2)
    ((message, number),) = result.failed.items()
    assert message.startswith("Overloaded: overloaded: model 'm'")
    assert 2 <= number <= 40  # a failed call is followed by a pause


@pytest.mark.asyncio
@pytest.mark.parametrize("good", [0, 2])
async def test_wrong_rows_end_the_load(good: int) -> None:
    def rows() -> Iterator[ValueColumns]:
        for _ in range(good):
            yield {"x": [1.0]}
        raise InvalidInput("expected a number", "x")

    async def predict(columns: ValueColumns) -> list[Answer]:
        raise Overloaded("m", 3)

    with pytest.raises(GomlxError, match="expected a number"):
        await apply_load(predict, rows(), 10, 1)
