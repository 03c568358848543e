"""What the watcher sees: the first look, settled changes, repeats."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gomlx.models.staging.source import Snapshot
from gomlx.supervisor.watcher import Sight, Watcher
from tests.models.staging.test_source import model

pytestmark = pytest.mark.asyncio
NEVER = 60.0  # seconds: longer than any test


@asynccontextmanager
async def watched(watcher: Watcher) -> AsyncIterator[AsyncIterator[Sight]]:
    sights = watcher.sights()
    try:
        yield sights
    finally:
        await sights.aclose()  # type: ignore[attr-defined]  # a generator


async def following(sights: AsyncIterator[Sight]) -> Sight:
    return await asyncio.wait_for(anext(sights), 60)


def text(sight: Sight) -> str:
    assert isinstance(sight, Snapshot)
    return Path(sight.root, "saved_model.pb").read_text()


async def changed(sights: AsyncIterator[Sight], change: Callable[[], object]) -> Sight:
    """Make a change, again and again until it is seen: a watch takes time to arm."""
    seen = asyncio.ensure_future(anext(sights))
    async with asyncio.timeout(60):
        while not seen.done():
            change()
            await asyncio.wait({seen}, timeout=1)
    return seen.result()


@pytest.mark.parametrize("poll", [0.2, NEVER])
async def test_a_change_is_seen_by_polling_and_by_notification(
    tmp_path: Path, poll: float
) -> None:
    folder = model(tmp_path / "m", "one")
    graph = folder / "saved_model.pb"
    async with watched(Watcher(str(folder), 0.05, poll)) as sights:
        assert text(await following(sights)) == "one"
        sight = await changed(sights, lambda: graph.write_text("two"))
        assert text(sight) == "two"


async def test_a_folder_that_is_replaced_is_seen_by_notification(
    tmp_path: Path,
) -> None:
    folder = model(tmp_path / "m", "one")

    def replace() -> None:
        name = f"{len(list(tmp_path.iterdir()))}"
        new = model(tmp_path / f"new-{name}", "replaced")
        folder.rename(tmp_path / f"old-{name}")
        new.rename(folder)

    async with watched(Watcher(str(folder), 0.05, NEVER)) as sights:
        await following(sights)
        for n in range(3):
            assert text(await changed(sights, replace)) == "replaced"
            graph = folder / "saved_model.pb"
            word = f"in place {n}"
            sight = await changed(sights, lambda g=graph, w=word: g.write_text(w))  # type: ignore[misc]
            assert text(sight) == word


async def test_a_model_that_comes_later(tmp_path: Path) -> None:
    async with watched(Watcher(str(tmp_path / "m"), 0.05, 0.2)) as sights:
        assert await following(sights) is None
        change = asyncio.create_task(following(sights))
        model(tmp_path / "m", "late")
        assert text(await change) == "late"


async def test_files_that_keep_changing_are_waited_for(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "one")
    async with watched(Watcher(str(folder), 0.5, 0.1)) as sights:
        await following(sights)
        change = asyncio.create_task(following(sights))
        for n in range(12):
            (folder / "saved_model.pb").write_text("x" * n)
            await asyncio.sleep(0.1)
            assert not change.done()
        assert text(await change) == "x" * 11


async def test_the_last_sight_again(tmp_path: Path) -> None:
    folder = model(tmp_path / "m", "one")
    watcher = Watcher(str(folder), 0.05, NEVER)
    async with watched(watcher) as sights:
        first = await following(sights)
        again = asyncio.create_task(following(sights))
        await asyncio.sleep(0)
        watcher.again()
        assert await again == first
