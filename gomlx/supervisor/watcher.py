"""Iterates over what a model source looks like, each time it has changed and settled.

The kernel's notifications (watchfiles) are hints that save waiting; a look at the
source every few seconds is what can be relied on, for local paths too: they may be
replaced whole, live on a network file system, or not exist yet.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from watchfiles import awatch

from gomlx.errors import StageFailed
from gomlx.models.source import Snapshot, Source

Sight = Snapshot | StageFailed | None


class Watcher:
    """Watches one source, as an asynchronous iterator of sights.

    A sight is a snapshot, None (nothing there) or the error that reading it raised.
    The first comes at once, each other when it differs from the last and has not
    changed for settle_seconds. `again` has the last one come again.
    """

    def __init__(self, url: str, settle_seconds: float, poll_seconds: float) -> None:
        self._url, self._settle, self._poll = url, settle_seconds, poll_seconds
        self._hint = asyncio.Event()
        self._rearm = asyncio.Event()
        self._repeats = False
        self._source: Source | None = None

    def again(self) -> None:
        """Give the last sight again, now."""
        self._repeats = True
        self._hint.set()

    async def sights(self) -> AsyncIterator[Sight]:
        """Iterate until cancelled."""
        last = await self._look()
        yield last
        watching = self._watch()
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hint.wait(), self._poll)
                self._hint.clear()
                now = await self._look()
                if _differ(now, last):
                    last = await self._settled(now)
                    self._rearm.set()
                    yield last
                elif self._repeats:
                    yield last
                self._repeats = False
        finally:
            for task in watching:
                task.cancel()

    async def _look(self) -> Sight:
        try:
            if self._source is None:
                self._source = Source(self._url)
            return await asyncio.to_thread(self._source.snapshot)
        except StageFailed as error:
            return error

    async def _settled(self, sight: Sight) -> Sight:
        """Wait until two looks in a row see the same."""
        while True:
            await asyncio.sleep(self._settle)
            now = await self._look()
            if not _differ(now, sight):
                return now
            sight = now

    def _watch(self) -> list[asyncio.Task[None]]:
        path = self._source.local_path if self._source else None
        if path is None:
            return []
        # The parent tells when the path itself comes, goes or is replaced.
        return [
            asyncio.create_task(self._listen(path, recursive=True)),
            asyncio.create_task(self._listen(path.parent, recursive=False)),
        ]

    async def _listen(self, path: Path, recursive: bool) -> None:
        while True:
            self._rearm.clear()
            with suppress(OSError):
                async for _ in awatch(
                    path,
                    recursive=recursive,
                    step=50,
                    debounce=200,
                    stop_event=self._rearm,
                    ignore_permission_denied=True,
                ):
                    self._hint.set()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._rearm.wait(), self._poll)


def _differ(a: Sight, b: Sight) -> bool:
    if isinstance(a, StageFailed) and isinstance(b, StageFailed):
        return str(a) != str(b)
    return a != b
