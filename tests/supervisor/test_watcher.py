"""What the watcher observes: the first state, settled changes, repeats."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest

from gomlx.models.source import Snapshot
from gomlx.supervisor.watcher import Observation, Watcher
from tests.models.test_source import model

pytestmark = pytest.mark.asyncio
NEVER = 60.0  # seconds: longer than any test


@asynccontextmanager
async def watched(watcher: Watcher) -> AsyncIterator[AsyncIterator[Observation]]:
    observations = watcher.observations()
    try:
        yield observations
    finally:
        await observations.aclose()  # type: ignore[attr-defined]  # a generator


async def following(observations: AsyncIterator[Observation]) -> Observation:
    return await asyncio.wait_for(anext(observations), 60)


def text(observation: Observation) -> str:
    assert isinstance(observation, Snapshot)
    return Path(observation.root, "saved_model.pb").read_text()


async def changed(
    observations: AsyncIterator[Observation], change: Callable[[], object]
) -> Observation:
    """Repeat a change until it is observed: a kernel watch takes time to arm."""
    seen = asyncio.ensure_future(anext(observations))
    async with asyncio.timeout(60):
        while not seen.done():
            change()
            await asyncio.wait({seen}, timeout=1)
    return seen.result()


async def test_a_cancellation_is_not_lost_when_something_else_ends_the_wait(
    tmp_path: Path,
) -> None:
    """`asyncio.wait_for` loses it: a stop of the service would never end."""
    folder = model(tmp_path / "m", "one")

    async def follow() -> None:
        async for _ in Watcher(str(folder), 0, 0).observations():
            pass

    for n in range(300):
        following = asyncio.create_task(follow())
        await asyncio.sleep(n % 30 / 10_000)
        following.cancel()
        await asyncio.wait({following}, timeout=10)
        assert following.cancelled()


@pytest.mark.parametrize("poll", [0.2, NEVER])
async def test_a_change_is_observed_by_polling_and_by_notification(
    tmp_path: Path, poll: float
) -> None:
    folder = model(tmp_path / "m", "one")
    graph = folder / "saved_model.pb"
    async with watched(Watcher(str(folder), 0.05, poll)) as observations:
        assert text(await following(observations)) == "one"
        observation = await changed(observations, lambda: graph.write_text("two"))
        assert text(observation) == "two"


async def test_a_replaced_folder_is_observed_by_notification(
    tmp_path: Path,
) -> None:
    folder = model(tmp_path / "m", "one")

    def replace() -> None:
        name = f"{len(list(tmp_path.iterdir()))}"
        new = model(tmp_path / f"new-{name}", "replaced")
        folder.rename(tmp_path / f"old-{name}")
        new.rename(folder)

    async with watched(Watcher(str(folder), 0.05, NEVER)) as observations:
        await following(observations)
        for n in range(3):
            assert text(await changed(observations, replace)) == "replaced"
            graph = folder / "saved_model.pb"
            word = f"in place {n}"
            observation = await changed(observations, partial(graph.write_text, word))
            assert text(observation) == word


async def test_a_model_that_appears_later(tmp_path: Path) -> None:
    async with watched(Watcher(str(tmp_path / "m"), 0.05, 0.2)) as observations:
        assert await following(observations) is None
        change = asyncio.create_task(following(observations))
        model(tmp_path / "m", "late")
        assert text(await change) == "late"


async def test_changing_files_are_not_observed_before_they_settle(
    tmp_path: Path,
) -> None:
    folder = model(tmp_path / "m", "one")
    async with watched(Watcher(str(folder), 0.5, 0.1)) as observations:
        await following(observations)
        change = asyncio.create_task(following(observations))
        for n in range(12):
            (folder / "saved_model.pb").write_text("x" * n)
            await asyncio.sleep(0.1)
            assert not change.done()
        assert text(await change) == "x" * 11


async def test_the_last_observation_is_repeated(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "one")
    watcher = Watcher(str(folder), 0.05, NEVER)
    async with watched(watcher) as observations:
        first = await following(observations)
        watcher.repeat_after(0)
        assert await following(observations) == first
