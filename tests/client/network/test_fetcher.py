"""Rows are fetched once for all callers, and for as long as one of them waits."""

import asyncio
from collections.abc import Hashable

import pytest

from gomlx.client.answer import AnswerEntry, AnswerOrigin
from gomlx.client.local.client_model import ClientModel
from gomlx.client.local.rows import MissingRow
from gomlx.client.network.fetcher import Fetcher
from gomlx.client.network.load import Load
from gomlx.errors import DeadlineExceeded, RunFailed
from tests.client.fake import QUIET, VERSION, contract

pytestmark = pytest.mark.asyncio


class HeldLoader:
    """Settles the rows of a load once they are released."""

    def __init__(self) -> None:
        self.loads: list[Load] = []
        self.released = asyncio.Event()
        self.cancelled: list[Load] = []
        self.error: Exception | None = None

    async def run(self, load: Load) -> None:
        self.loads.append(load)
        try:
            await self.released.wait()
        except asyncio.CancelledError:
            self.cancelled.append(load)
            raise
        if self.error:
            raise self.error
        for key in load.rows:
            load.settle(key, AnswerEntry(b"{}", {}, AnswerOrigin(VERSION, "L1", True)))

    @property
    def keys(self) -> list[list[Hashable]]:
        return [list(load.rows) for load in self.loads]


class Fetching:
    """A fetcher over a held loader."""

    def __init__(self) -> None:
        self.loader = HeldLoader()
        self.fetcher = Fetcher(self.loader)
        self.client_model = ClientModel(contract(), QUIET)

    def start(
        self, *keys: float, seconds: float = 30.0
    ) -> asyncio.Task[dict[Hashable, AnswerEntry]]:
        rows: dict[Hashable, MissingRow] = {
            key: MissingRow((key,), (key,)) for key in keys
        }
        deadline = asyncio.get_running_loop().time() + seconds
        work = self.fetcher.fetch(self.client_model, rows, deadline)
        return asyncio.create_task(work)


async def turns() -> None:
    """Let tasks run until all of them wait."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_row_that_is_being_fetched_is_joined() -> None:
    fetching = Fetching()
    first = fetching.start(1, 2)
    await turns()
    second = fetching.start(2, 3)
    await turns()
    assert fetching.loader.keys == [[1, 2], [3]]
    fetching.loader.released.set()
    assert set(await first) == {1, 2}
    assert set(await second) == {2, 3}
    third = await fetching.start(2)  # not under way any more
    assert set(third) == {2}
    assert fetching.loader.keys == [[1, 2], [3], [2]]


async def test_another_version_is_another_row() -> None:
    fetching = Fetching()
    first = fetching.start(1)
    await turns()
    fetching.client_model = ClientModel(contract("b" * 32), QUIET)
    second = fetching.start(1)
    await turns()
    assert fetching.loader.keys == [[1], [1]]
    fetching.loader.released.set()
    await asyncio.gather(first, second)


async def test_abandoned_work_is_cancelled_by_the_last_that_leaves() -> None:
    fetching = Fetching()
    first = fetching.start(1)
    await turns()
    second = fetching.start(1)
    await turns()
    first.cancel()
    await turns()
    assert not fetching.loader.cancelled
    second.cancel()
    await turns()
    assert fetching.loader.cancelled == fetching.loader.loads
    assert first.cancelled() and second.cancelled()


async def test_a_late_row_fails_with_the_deadline() -> None:
    fetching = Fetching()
    (entry,) = (await fetching.start(1, seconds=-1.0)).values()
    assert isinstance(entry.error, DeadlineExceeded)
    assert "'m'" in str(entry.error)
    await turns()
    assert fetching.loader.cancelled == fetching.loader.loads


async def test_a_load_with_an_earlier_deadline_is_repeated() -> None:
    """Its DeadlineExceeded is not the failure of a caller that has more time."""
    fetching = Fetching()
    hasty = fetching.start(1, seconds=0.0)
    await turns()
    patient = fetching.start(1, seconds=30.0)
    await turns()
    (load,) = fetching.loader.loads
    load.settle(1, fetching.client_model.failed(DeadlineExceeded("late")))
    load.task.cancel()
    await turns()
    assert fetching.loader.keys == [[1], [1]]
    fetching.loader.released.set()
    (entry,) = (await patient).values()
    assert entry.error is None
    (entry,) = (await hasty).values()
    assert isinstance(entry.error, DeadlineExceeded)


async def test_other_errors_are_those_of_all_who_wait() -> None:
    fetching = Fetching()
    both = [fetching.start(1)]
    await turns()
    both.append(fetching.start(1))
    await turns()
    (load,) = fetching.loader.loads
    load.settle(1, fetching.client_model.failed(RunFailed("no such row")))
    load.task.cancel()
    for found in await asyncio.gather(*both):
        assert isinstance(found[1].error, RunFailed)


async def test_a_bug_is_raised_by_all_who_wait() -> None:
    fetching = Fetching()
    fetching.loader.error = ZeroDivisionError()
    both = [fetching.start(1), fetching.start(1)]
    await turns()
    fetching.loader.released.set()
    for one in both:
        with pytest.raises(ZeroDivisionError):
            await one
